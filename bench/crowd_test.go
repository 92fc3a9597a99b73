package bench

import (
	"fmt"
	"sync"

	"github.com/dashflow/dashstream/internal/streampb"
)

// serveCrowd is clients in a process of their own, so that what they take of it
// delays nobody who is measured elsewhere. On "ADDRESS N" as many come back to a
// gateway at once, from N places of each partition, and read until they have caught
// up.
func serveCrowd(commands <-chan string) (string, error) {
	go func() {
		for cmd := range commands {
			var addr string
			var n int
			if _, err := fmt.Sscan(cmd, &addr, &n); err != nil {
				continue
			}
			if err := comeBack(addr, n); err != nil {
				fmt.Println("error:", err)
			}
		}
	}()
	return "waiting", nil
}

func comeBack(addr string, n int) error {
	info, err := hello(addr)
	if err != nil {
		return err
	}
	clients := make([]*subscriber, n)
	for i := range clients {
		if clients[i], err = dial(addr); err != nil {
			return err
		}
		defer func() { _ = clients[i].conn.Close() }()
	}
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i, x := range clients {
		wg.Go(func() {
			if errs[i] = x.subscribe(&streampb.Subscribe{Start: &streampb.Start{From: &streampb.Start_Cursor{Cursor: place(info, i, n)}}}); errs[i] == nil {
				x.blind = true
				errs[i] = x.until(fieldCaughtUp)
			}
		})
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			return fmt.Errorf("client %d: %w", i, err)
		}
	}
	return nil
}

// place is the i-th of n places of a stream.
func place(info *streampb.Hello, i, n int) *streampb.Cursor {
	at := &streampb.Cursor{StreamId: info.GetStreamId()}
	for _, p := range info.GetPartitions() {
		next := p.GetOldest() + (p.GetLatest()-p.GetOldest())*int64(i)/int64(n)
		at.Partitions = append(at.Partitions, &streampb.PartitionOffset{Partition: p.Partition, NextOffset: &next})
	}
	return at
}
