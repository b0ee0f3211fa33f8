package sdk

import (
	"net/http"
	"testing"
	"time"
)

func TestRetryAfterIsSecondsOrADate(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	at := func(d time.Duration) string { return now.Add(d).Format(http.TimeFormat) }
	for _, tt := range []struct {
		name, value, date string
		want              time.Duration
	}{
		{"none", "", "", 0},
		{"seconds", "7", "", 7 * time.Second},
		{"zero", "0", "", 0},
		{"more than a minute", "3600", "", time.Minute},
		{"more than a duration holds", "9223372036854775807", "", time.Minute},
		{"more than a number holds", "99999999999999999999", "", time.Minute},
		{"negative", "-5", "", 0},
		{"no number", "soon", "", 0},
		{"date", at(20 * time.Second), "", 20 * time.Second},
		{"date in another form", now.Add(20 * time.Second).Format(time.RFC850), "", 20 * time.Second},
		{"date in the past", at(-time.Second), "", 0},
		{"date of tomorrow", at(24 * time.Hour), "", time.Minute},
		{"date by a clock that is ahead", at(time.Hour + 20*time.Second), at(time.Hour), 20 * time.Second},
		{"date by a clock that is behind", at(-time.Hour), at(-time.Hour - 20*time.Second), 20 * time.Second},
	} {
		h := http.Header{}
		h.Set("Retry-After", tt.value)
		if tt.date != "" {
			h.Set("Date", tt.date)
		}
		if got := retryAfter(h, now); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}
