package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A relay at work beside the command loop: made anew after every error, as a supervisor would.
type relay struct {
	done     atomic.Int64
	errors   []string
	stop     context.CancelFunc
	finished chan struct{}
}

func startRelay(d *driver, c Command) *relay {
	ctx, stop := context.WithCancel(context.Background())
	r := &relay{errors: []string{}, stop: stop, finished: make(chan struct{})}
	turn := d.relayPlain
	if c.TransactionalID != "" {
		turn = d.relayTransactions
	}
	go func() {
		defer close(r.finished)
		for ctx.Err() == nil {
			if err := turn(ctx, c, r); err != nil && ctx.Err() == nil {
				fmt.Fprintln(os.Stderr, "relay:", err)
				r.errors = append(r.errors, nameOf(err))
				time.Sleep(500 * time.Millisecond)
			}
		}
	}()
	return r
}

func (r *relay) end() any {
	r.stop()
	<-r.finished
	slices.Sort(r.errors)
	return map[string]any{"done": r.done.Load(), "errors": slices.Compact(r.errors)}
}

func relayOptions(c Command) []kgo.Opt {
	return append(protocol(c.Protocol, c.Group, 0), kgo.ConsumeTopics(c.Topic), kgo.ProducerLinger(5*time.Millisecond),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()))
}

func (c Command) relayed(fetches kgo.Fetches) []*kgo.Record {
	records := []*kgo.Record{}
	fetches.EachRecord(func(r *kgo.Record) {
		records = append(records, &kgo.Record{Topic: c.To, Partition: r.Partition, Key: r.Key, Value: r.Value})
	})
	return records
}

func (d *driver) relayPlain(ctx context.Context, c Command, r *relay) error {
	client, err := d.client(append(relayOptions(c), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll())...)
	if err != nil {
		return err
	}
	defer client.CloseAllowingRebalance()
	for ctx.Err() == nil {
		fetches := client.PollRecords(ctx, 200)
		if err := fetches.Err0(); err != nil {
			return err
		}
		records := c.relayed(fetches)
		if len(records) > 0 {
			if err := client.ProduceSync(ctx, records...).FirstErr(); err != nil {
				return err
			}
			if err := client.CommitUncommittedOffsets(ctx); err != nil {
				return err
			}
		}
		r.done.Add(int64(len(records)))
		client.AllowRebalance()
	}
	return nil
}

func (d *driver) relayTransactions(ctx context.Context, c Command, r *relay) error {
	base := []kgo.Opt{kgo.SeedBrokers(d.bootstrap...), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.TransactionalID(c.TransactionalID), kgo.RequireStableFetchOffsets(),
		// Begun at once after another, a transaction may be refused for a moment. Records are then sent again after metadata has
		// been asked for, which by default is not done more often than every five seconds.
		kgo.MetadataMinAge(50 * time.Millisecond)}
	session, err := kgo.NewGroupTransactSession(append(base, relayOptions(c)...)...)
	if err != nil {
		return err
	}
	defer session.Close()
	for ctx.Err() == nil {
		fetches := session.PollRecords(ctx, 200)
		if err := fetches.Err0(); err != nil {
			return err
		}
		records := c.relayed(fetches)
		if len(records) == 0 {
			continue
		}
		if err := session.Begin(); err != nil {
			return err
		}
		sent := session.ProduceSync(ctx, records...).FirstErr()
		committed, err := session.End(ctx, kgo.TransactionEndTry(sent == nil))
		if err != nil {
			return err
		}
		if sent != nil {
			return sent
		}
		if committed {
			r.done.Add(int64(len(records)))
		}
	}
	return nil
}
