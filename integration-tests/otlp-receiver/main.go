// Command otlp-receiver is the receiver of the OpenTelemetry collector alone: it takes traces over OTLP/HTTP and appends them to a file,
// a line of OTLP's JSON for each request.
package main

import (
	"context"
	"log"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/otlpreceiver"
	metrics "go.opentelemetry.io/otel/metric/noop"
	traces "go.opentelemetry.io/otel/trace/noop"
	"go.uber.org/zap"
)

// nobody is what the receiver runs in: there is nothing else here.
type nobody struct{}

func (nobody) GetExtensions() map[component.ID]component.Component { return nil }

func run(listen, path string) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	var lock sync.Mutex
	keep := func(_ context.Context, taken ptrace.Traces) error {
		line, err := (&ptrace.JSONMarshaler{}).MarshalTraces(taken)
		if err != nil {
			return err
		}
		lock.Lock()
		defer lock.Unlock()
		_, err = file.Write(append(line, '\n'))
		return err
	}
	next, err := consumer.NewTraces(keep)
	if err != nil {
		return err
	}
	factory := otlpreceiver.NewFactory()
	config := factory.CreateDefaultConfig()
	only := map[string]any{"protocols": map[string]any{"http": map[string]any{"endpoint": listen}}}
	if err := confmap.NewFromStringMap(only).Unmarshal(config); err != nil {
		return err
	}
	settings := receiver.Settings{
		ID: component.NewID(factory.Type()),
		TelemetrySettings: component.TelemetrySettings{
			Logger:         zap.NewExample(),
			TracerProvider: traces.NewTracerProvider(),
			MeterProvider:  metrics.NewMeterProvider(),
			Resource:       pcommon.NewResource(),
		},
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	taking, err := factory.CreateTraces(ctx, settings, config, next)
	if err != nil {
		return err
	}
	if err := taking.Start(ctx, nobody{}); err != nil {
		return err
	}
	<-ctx.Done()
	return taking.Shutdown(context.Background())
}

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: otlp-receiver HOST:PORT FILE")
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		log.Fatal(err)
	}
}
