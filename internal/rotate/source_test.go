package rotate

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alphaonedev/federation/internal/fault"
)

func TestStartReturnsTheFirstGoodValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		s, err := Start(t.Context(), Config[int]{
			Role: fault.RoleTrust,
			Pull: func(context.Context) (int, error) {
				if calls++; calls < 4 {
					return 0, errors.New("connection refused")
				}
				return 7, nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if v, ok := s.Current(); v != 7 || !ok {
			t.Errorf("Current() = %d, %v", v, ok)
		}
		if st := s.Status(); st.State != Fresh || st.Generation != 1 || st.Failures != 0 || time.Until(st.Next) < 5*time.Minute {
			t.Errorf("Status() = %+v", st)
		}
	})
}
