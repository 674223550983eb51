// Counts the records of each key of a topic, in memory. What Cutline asks of it is the hook: the second half.
//
// BOOTSTRAP, TOPIC and GROUP say what to read, HOOK_PORT where the hook and the counts are, LEASE_SECONDS how long a pause lasts at most.
// One instance: where there are several, keep what is counted by partition, or in a database they share.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"maps"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

var (
	state     sync.Mutex // of the next two; never held for long
	tally     = map[string]int64{}
	positions = map[string]int64{}
)

func main() {
	forget := func(context.Context, *kgo.Client, map[string][]int32) {
		state.Lock()
		clear(positions)
		state.Unlock()
	}
	// Offsets are committed by the client when it likes: with a hook nothing hangs on that.
	client, err := kgo.NewClient(
		kgo.SeedBrokers(os.Getenv("BOOTSTRAP")), kgo.ConsumerGroup(os.Getenv("GROUP")), kgo.ConsumeTopics(os.Getenv("TOPIC")),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsRevoked(forget), kgo.OnPartitionsLost(forget))
	if err != nil {
		log.Fatal(err)
	}
	go serveHook()
	for {
		client.PollFetches(context.Background()).EachRecord(func(record *kgo.Record) {
			permit <- struct{}{}
			state.Lock()
			tally[string(record.Key)]++
			positions[fmt.Sprintf("%s-%d", record.Topic, record.Partition)] = record.Offset + 1
			state.Unlock()
			<-permit
		})
		client.AllowRebalance()
	}
}

// One permit: the loop has it while it works on a record, the hook from pause to resume, or until its lease is over.
var permit = make(chan struct{}, 1)
var lease struct {
	sync.Mutex
	over *time.Timer
}

func pause() {
	resume()
	permit <- struct{}{}
	seconds, err := strconv.Atoi(os.Getenv("LEASE_SECONDS"))
	if err != nil {
		seconds = 30
	}
	lease.Lock()
	lease.over = time.AfterFunc(time.Duration(seconds)*time.Second, func() { resume() })
	lease.Unlock()
}

func resume() bool {
	lease.Lock()
	defer lease.Unlock()
	held := lease.over != nil
	if held {
		lease.over.Stop()
		lease.over = nil
		<-permit
	}
	return held
}

func serveHook() {
	http.HandleFunc("POST /cutline/pause", func(answer http.ResponseWriter, _ *http.Request) {
		pause() // waits for the record at work; from here on nothing moves
		state.Lock()
		defer state.Unlock()
		json.NewEncoder(answer).Encode(map[string]any{"positions": positions})
	})
	http.HandleFunc("POST /cutline/resume", func(answer http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(answer).Encode(map[string]any{"lease_held": resume()})
	})
	http.HandleFunc("POST /cutline/restore", func(answer http.ResponseWriter, request *http.Request) {
		counts := map[string]int64{} // called while the application is cut off from Kafka
		for lines := bufio.NewScanner(request.Body); lines.Scan(); {
			var key string
			var count int64
			if _, err := fmt.Sscan(lines.Text(), &key, &count); err != nil {
				http.Error(answer, "not a snapshot of mine", http.StatusBadRequest)
				return
			}
			counts[key] = count
		}
		state.Lock()
		tally = counts
		clear(positions)
		state.Unlock()
	})
	http.HandleFunc("GET /", func(answer http.ResponseWriter, _ *http.Request) {
		state.Lock() // /cutline/snapshot, and / for whoever wants to see it
		defer state.Unlock()
		for _, key := range slices.Sorted(maps.Keys(tally)) {
			fmt.Fprintf(answer, "%s %d\n", key, tally[key])
		}
	})
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("HOOK_PORT"), nil))
}
