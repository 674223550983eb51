package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func decoded(content any) []byte {
	text, ok := content.(string)
	if !ok {
		return nil
	}
	bytes, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		panic(err)
	}
	return bytes
}

func encoded(content []byte) any {
	if content == nil {
		return nil
	}
	return base64.StdEncoding.EncodeToString(content)
}

func (d *driver) produce(ctx context.Context, topic string, records []Record, compression string, extra ...kgo.Opt) (any, error) {
	options := []kgo.Opt{kgo.ProducerBatchCompression(codec(compression)), kgo.ProducerLinger(20 * time.Millisecond)}
	client, err := d.client(append(options, extra...)...)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	return send(ctx, client, topic, records), nil
}

func send(ctx context.Context, client *kgo.Client, topic string, records []Record) []any {
	landed := make([]any, len(records))
	var waiting sync.WaitGroup
	for at, record := range records {
		waiting.Add(1)
		client.Produce(ctx, record.toKafka(topic), func(r *kgo.Record, err error) {
			defer waiting.Done()
			if err != nil {
				landed[at] = nameOf(err)
			} else {
				landed[at] = []int64{int64(r.Partition), r.Offset}
			}
		})
	}
	waiting.Wait()
	return landed
}

func (d *driver) transact(ctx context.Context, c Command) (any, error) {
	client, err := d.client(kgo.TransactionalID(c.TransactionalID), kgo.ProducerBatchCompression(kgo.SnappyCompression()))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	half := len(c.Records) / 2
	answers := []any{}
	for at, part := range [][]Record{c.Records[:half], c.Records[half:]} {
		if err := client.BeginTransaction(); err != nil {
			return nil, err
		}
		answers = append(answers, send(ctx, client, c.Topic, part)...)
		if err := client.EndTransaction(ctx, kgo.TransactionEndTry(at == 0)); err != nil {
			return nil, err
		}
	}
	return answers, nil
}

func starts(topic string, partitions int, at kgo.Offset) kgo.Opt {
	offsets := map[int32]kgo.Offset{}
	for partition := range int32(partitions) {
		offsets[partition] = at
	}
	return kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: offsets})
}

func (d *driver) read(ctx context.Context, c Command) (any, error) {
	isolation := kgo.ReadUncommitted()
	if c.Committed {
		isolation = kgo.ReadCommitted()
	}
	client, err := d.client(starts(c.Topic, c.Partitions, kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(isolation))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	seen := []Record{}
	for len(seen) < c.Enough {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, err
		}
		fetches.EachRecord(func(r *kgo.Record) { seen = append(seen, fromKafka(r)) })
	}
	return seen, nil
}

func (d *driver) group(ctx context.Context, c Command) (any, error) {
	seen := map[[2]int64]Record{}
	var guard sync.Mutex
	enough := func() bool {
		guard.Lock()
		defer guard.Unlock()
		return len(seen) >= c.Enough
	}
	failures := make(chan error, 2)
	for at := range 2 {
		go func() {
			failures <- d.member(ctx, c, at, enough, func(fresh []*kgo.Record) {
				guard.Lock()
				defer guard.Unlock()
				for _, r := range fresh {
					seen[[2]int64{int64(r.Partition), r.Offset}] = fromKafka(r)
				}
			})
		}()
	}
	if err := errors.Join(<-failures, <-failures); err != nil {
		return nil, err
	}
	records := make([]Record, 0, len(seen))
	for _, record := range seen {
		records = append(records, record)
	}
	slices.SortFunc(records, func(a, b Record) int {
		if a.P != b.P {
			return int(a.P - b.P)
		}
		return int(a.O - b.O)
	})
	return records, nil
}

func (d *driver) member(ctx context.Context, c Command, at int, enough func() bool, note func([]*kgo.Record)) error {
	options := append(protocol(c.Protocol, c.Group, at), kgo.ConsumeTopics(c.Topic), kgo.DisableAutoCommit())
	client, err := d.client(options...)
	if err != nil {
		return err
	}
	defer client.Close()
	fresh := []*kgo.Record{}
	for !enough() {
		if ctx.Err() != nil {
			return fmt.Errorf("in vain: %d records of %s", c.Enough, c.Protocol)
		}
		short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		fetches := client.PollRecords(short, 50)
		cancel()
		if err := fetches.Err0(); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		fresh = append(fresh, fetches.Records()...)
		// A rebalance may come between: the next owner reads again what was not committed.
		if len(fresh) > 0 && client.CommitUncommittedOffsets(ctx) == nil {
			note(fresh)
			fresh = nil
		}
	}
	return nil
}

func (d *driver) committed(ctx context.Context, c Command) (any, error) {
	client, err := d.client()
	if err != nil {
		return nil, err
	}
	defer client.Close()
	found, err := kadm.NewClient(client).FetchOffsets(ctx, c.Group)
	if err != nil {
		return nil, err
	}
	offsets := make([]any, c.Partitions)
	for partition := range offsets {
		if at, ok := found.Lookup(c.Topic, int32(partition)); ok && at.At >= 0 {
			offsets[partition] = at.At
		}
	}
	return offsets, nil
}

func (d *driver) errors(ctx context.Context, c Command) (any, error) {
	one := []Record{{V: &c.Large, T: 1}}
	answers := map[string]any{}
	for _, probe := range []struct {
		name, topic string
		bytes       int32
	}{{"produce_unknown", c.Unknown, 10_000_000}, {"produce_large", c.Small, 10_000_000}, {"produce_too_large_for_client", c.Small, 1000}} {
		landed, err := d.produce(ctx, probe.topic, one, "none", kgo.ProducerBatchMaxBytes(probe.bytes),
			kgo.UnknownTopicRetries(2), kgo.RecordDeliveryTimeout(15*time.Second))
		if err != nil {
			return nil, err
		}
		answers[probe.name] = landed.([]any)[0]
	}
	for name, reset := range map[string]kgo.Offset{"none": kgo.NoResetOffset(), "earliest": kgo.NewOffset().AtStart(), "latest": kgo.NewOffset().AtEnd()} {
		first, err := d.first(ctx, c.Trimmed, reset)
		if err != nil {
			return nil, err
		}
		answers["reset_"+name] = first
	}
	return answers, nil
}

func (d *driver) first(ctx context.Context, topic string, reset kgo.Offset) (any, error) {
	client, err := d.client(starts(topic, 1, kgo.NewOffset().At(1_000_000)), kgo.ConsumeResetOffset(reset))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	short, cancel := context.WithTimeout(ctx, 4*time.Second)
	defer cancel()
	fetches := client.PollFetches(short)
	if err := fetches.Err(); err != nil {
		return nameOf(err), nil
	}
	return fetches.Records()[0].Offset, nil
}

func (d *driver) idle(ctx context.Context, c Command) (any, error) {
	options := append(protocol("range", c.Group, 0), kgo.ConsumeTopics(c.Topic), kgo.DisableAutoCommit(),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	client, err := d.client(options...)
	if err != nil {
		return nil, err
	}
	d.idler = client
	for seen := 0; seen < c.Enough; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			return nil, err
		}
		seen += fetches.NumRecords()
	}
	return nil, client.CommitUncommittedOffsets(ctx)
}

func (d *driver) idleEnd(ctx context.Context, c Command) (any, error) {
	short, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if fetches := d.idler.PollFetches(short); fetches.NumRecords() > 0 {
		return nil, errors.New("records while idle")
	}
	if err := d.idler.CommitUncommittedOffsets(ctx); err != nil {
		return nil, err
	}
	d.idler.Close()
	return d.committed(ctx, c)
}
