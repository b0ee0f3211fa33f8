package plugin

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

func TestAPluginThatSaysThatItDoesNotServeIsGivenUp(t *testing.T) {
	dir, err := socketDir("")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	g, h := grpc.NewServer(), health.NewServer()
	h.SetServingStatus(healthName, grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	grpc_health_v1.RegisterHealthServer(g, h)
	go func() { _ = g.Serve(l) }()
	defer g.Stop()

	in := newInstance(1, Limits{Heartbeat: time.Hour, Hang: time.Minute}, nil, nil)
	in.dir = dir
	in.logs = newLogReader(nil, in.limits, func(s string) string { return s }, nil)
	if in.conn, err = grpc.NewClient("unix:"+l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		t.Fatal(err)
	}
	in.tasks.Go(in.heartbeat)
	in.suspect()
	<-in.dead
	if text := in.cause.Error(); !strings.Contains(text, "NOT_SERVING") || strings.Contains(text, "no answer") {
		t.Errorf("the cause is %q", text)
	}
	in.stop(true)
}
