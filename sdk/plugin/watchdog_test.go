package plugin

import (
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
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

// On a busy machine the end of a process is known long after its connection has broken.
func TestACallWaitsForTheEndOfAProcessWhoseConnectionBroke(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer()
	go func() { _ = g.Serve(l) }()
	in := newInstance(1, Limits{}.withDefaults(), nil, nil)
	if in.conn, err = grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		t.Fatal(err)
	}
	defer in.stop(true)
	unavailable := status.Error(codes.Unavailable, "EOF")
	in.conn.Connect()
	for s := in.conn.GetState(); s != connectivity.Ready; s = in.conn.GetState() {
		in.conn.WaitForStateChange(t.Context(), s)
	}
	if in.wentAway(t.Context(), unavailable) {
		t.Error("an answer of a plugin that lives is taken for its end")
	}
	g.Stop()
	in.conn.WaitForStateChange(t.Context(), connectivity.Ready)
	time.AfterFunc(5*pipeGrace, func() { in.giveUp(errors.New("the process ended"), false) })
	if !in.wentAway(t.Context(), unavailable) {
		t.Error("the end of the process was not waited for")
	}
}
