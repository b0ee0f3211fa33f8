package plugin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/alphaonedev/federation/internal/fault"
)

// healthName is the service whose health go-plugin's protocol asks for.
const healthName = "plugin"

// health asks whether the plugin serves.
func (in *instance) health(ctx context.Context) error {
	answer, err := grpc_health_v1.NewHealthClient(in.conn).Check(ctx,
		&grpc_health_v1.HealthCheckRequest{Service: healthName}, grpc.WaitForReady(true))
	if err != nil {
		_, err = fromStatus(err, in.logs.redact)
		return err
	}
	if answer.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		return fmt.Errorf("%w: it says %v", fault.ErrUnavailable, answer.Status)
	}
	return nil
}

// heartbeat finds a plugin that hangs, until the instance is given up.
func (in *instance) heartbeat() {
	t := time.NewTicker(in.limits.Heartbeat)
	defer t.Stop()
	for {
		select {
		case <-in.ctx.Done():
			return
		case <-in.dead:
			return
		case <-t.C:
		case <-in.probe:
		}
		ctx, cancel := context.WithTimeout(in.ctx, in.limits.Hang)
		err := in.health(ctx)
		cancel()
		switch {
		case err == nil || in.ctx.Err() != nil || in.isDead():
		case errors.Is(err, context.DeadlineExceeded):
			in.giveUp(fmt.Errorf("no answer to a health check within %v: %w", in.limits.Hang, err), true)
			return
		default:
			in.giveUp(fmt.Errorf("a health check failed: %w", err), true)
			return
		}
	}
}

// suspect asks for a health check now.
func (in *instance) suspect() {
	select {
	case in.probe <- struct{}{}:
	default:
	}
}

// shutdown asks the plugin to stop, by go-plugin's controller service.
func (in *instance) shutdown(ctx context.Context) error {
	if in.conn == nil {
		return status.Error(codes.Unavailable, "no connection")
	}
	return in.conn.Invoke(ctx, "/plugin.GRPCController/Shutdown", &emptypb.Empty{}, &emptypb.Empty{})
}

// drainOutput takes what a go-plugin server redirects to its stdio service once it serves; nobody reading it
// would block the plugin. Plugins without the service print to their real standard output.
func (in *instance) drainOutput() {
	stream, err := in.conn.NewStream(in.ctx, &grpc.StreamDesc{ServerStreams: true}, "/plugin.GRPCStdio/StreamStdio")
	if err != nil {
		return
	}
	if stream.SendMsg(&emptypb.Empty{}) != nil || stream.CloseSend() != nil {
		return
	}
	out, errs := newLineWriter(in.logs, in.logs.printed), newLineWriter(in.logs, in.logs.structured)
	for {
		var m emptypb.Empty // StdioData{channel = 1, data = 2}, read from what Empty does not know
		if err := stream.RecvMsg(&m); err != nil {
			return
		}
		channel, data := stdioData(m.ProtoReflect().GetUnknown())
		if channel == 1 {
			out.write(data)
		} else {
			errs.write(data)
		}
	}
}

func stdioData(b []byte) (channel uint64, data []byte) {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return channel, data
		}
		b = b[n:]
		switch {
		case num == 1 && typ == protowire.VarintType:
			channel, n = protowire.ConsumeVarint(b)
		case num == 2 && typ == protowire.BytesType:
			data, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return channel, data
		}
		b = b[n:]
	}
	return channel, data
}
