// Command franz drives franz-go: it reads one command a line and answers one line of JSON each.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// How long one command may wait for the cluster before the driver gives up and says so.
const patience = 60 * time.Second

// Record is a record as it is told and answered; bytes are base64, as encoding/json has it.
type Record struct {
	P int32    `json:"p"`
	O int64    `json:"o"`
	K *[]byte  `json:"k"`
	V *[]byte  `json:"v"`
	H [][2]any `json:"h"`
	T int64    `json:"t"`
}

// Command has the arguments of every command; each reads its own.
type Command struct {
	Do, Topic, To, Group, Protocol, Codec string
	Unknown, Small, Trimmed               string
	Large                                 []byte
	TransactionalID                       string `json:"transactional_id"`
	Records                               []Record
	Partitions, Enough                    int
	Committed                             bool
}

type driver struct {
	bootstrap []string
	idler     *kgo.Client
	relay     *relay
}

func main() {
	d := &driver{bootstrap: strings.Split(os.Args[1], ",")}
	lines := bufio.NewReader(os.Stdin)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		var command Command
		answer := map[string]any{}
		if err := json.Unmarshal(line, &command); err != nil {
			answer["failed"] = err.Error()
		} else if ok, err := d.do(command); err != nil {
			answer["failed"] = err.Error()
		} else {
			answer["ok"] = ok
		}
		out, _ := json.Marshal(answer)
		fmt.Println(string(out))
	}
}

func (d *driver) do(c Command) (any, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	switch c.Do {
	case "about":
		return about(), nil
	case "cluster":
		return d.cluster(ctx)
	case "produce":
		return d.produce(ctx, c.Topic, c.Records, c.Codec)
	case "transact":
		return d.transact(ctx, c)
	case "read":
		return d.read(ctx, c)
	case "group":
		return d.group(ctx, c)
	case "committed":
		return d.committed(ctx, c)
	case "errors":
		return d.errors(ctx, c)
	case "idle":
		return d.idle(ctx, c)
	case "idle_end":
		return d.idleEnd(ctx, c)
	case "relay":
		d.relay = startRelay(d, c)
		return nil, nil
	case "relayed":
		return d.relay.done.Load(), nil
	case "relay_end":
		return d.relay.end(), nil
	}
	return nil, fmt.Errorf("no command %q", c.Do)
}

func about() any {
	version := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, dep := range info.Deps {
			if dep.Path == "github.com/twmb/franz-go" {
				version = strings.TrimPrefix(dep.Version, "v")
			}
		}
	}
	return map[string]any{
		"client": "franz-go", "version": version, "transactions": true,
		"codecs": []string{"none", "gzip", "snappy", "lz4", "zstd"},
		"groups": []string{"range", "sticky", "cooperative", "static", "consumer"},
	}
}

func codec(name string) kgo.CompressionCodec {
	return map[string]kgo.CompressionCodec{
		"": kgo.NoCompression(), "none": kgo.NoCompression(), "gzip": kgo.GzipCompression(),
		"snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}[name]
}

func protocol(name, group string, member int) []kgo.Opt {
	options := []kgo.Opt{kgo.ConsumerGroup(group)}
	switch name {
	case "sticky":
		options = append(options, kgo.Balancers(kgo.StickyBalancer()))
	case "cooperative":
		options = append(options, kgo.Balancers(kgo.CooperativeStickyBalancer()))
	case "static":
		options = append(options, kgo.Balancers(kgo.RangeBalancer()), kgo.InstanceID(fmt.Sprintf("%s-%d", group, member)))
	case "consumer":
		options = append(options, kgo.Balancers(kgo.RangeBalancer()), kgo.ServerSideBalancer())
	default:
		options = append(options, kgo.Balancers(kgo.RangeBalancer()))
	}
	return options
}

func (d *driver) client(options ...kgo.Opt) (*kgo.Client, error) {
	base := []kgo.Opt{kgo.SeedBrokers(d.bootstrap...), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())}
	return kgo.NewClient(append(base, options...)...)
}

func (d *driver) cluster(ctx context.Context) (any, error) {
	client, err := d.client()
	if err != nil {
		return nil, err
	}
	defer client.Close()
	seen, err := kadm.NewClient(client).BrokerMetadata(ctx)
	if err != nil {
		return nil, err
	}
	nodes := [][2]int32{}
	for _, broker := range seen.Brokers {
		nodes = append(nodes, [2]int32{broker.NodeID, broker.Port})
	}
	slices.SortFunc(nodes, func(a, b [2]int32) int { return int(a[0] - b[0]) })
	return map[string]any{"nodes": nodes, "id": seen.Cluster}, nil
}

func (r Record) toKafka(topic string) *kgo.Record {
	record := &kgo.Record{Topic: topic, Partition: r.P, Timestamp: time.UnixMilli(r.T)}
	if r.K != nil {
		record.Key = *r.K
	}
	if r.V != nil {
		record.Value = *r.V
	}
	for _, header := range r.H {
		record.Headers = append(record.Headers, kgo.RecordHeader{Key: header[0].(string), Value: decoded(header[1])})
	}
	return record
}

func fromKafka(r *kgo.Record) Record {
	told := Record{P: r.Partition, O: r.Offset, T: r.Timestamp.UnixMilli(), H: [][2]any{}}
	if r.Key != nil {
		told.K = &r.Key
	}
	if r.Value != nil {
		told.V = &r.Value
	}
	for _, header := range r.Headers {
		told.H = append(told.H, [2]any{header.Key, encoded(header.Value)})
	}
	return told
}

// The name of an error: Kafka's own where the broker said it.
func nameOf(err error) string {
	var kafka *kerr.Error
	switch {
	case errors.As(err, &kafka):
		return kafka.Message
	case errors.Is(err, context.DeadlineExceeded):
		return "nothing"
	}
	return err.Error()
}
