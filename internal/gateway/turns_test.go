package gateway

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"
)

// Where an address may have few connections, whoever came back a few times waited for
// seconds.
func TestAFewSubscriptionsNeverWait(t *testing.T) {
	t.Parallel()
	turns, now, peer := newTurns(1), time.Now(), netip.MustParseAddr("192.0.2.1")
	for i := range 100 {
		if at := turns.next(peer, now); at != now {
			t.Fatalf("subscription %d waits for %v", i, at.Sub(now))
		}
	}
}

func TestSubscriptionsTakeTurnsByAddress(t *testing.T) {
	t.Parallel()
	turns := newTurns(100)
	now := time.Now()
	one, two := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	for i := range 200 {
		if at := turns.next(one, now); at != now {
			t.Fatalf("subscription %d waits for %v", i, at.Sub(now))
		}
	}
	for i := 1; i <= 100; i++ {
		if wait := turns.next(one, now).Sub(now); wait != time.Duration(i)*100*time.Millisecond {
			t.Fatalf("subscription %d beyond the burst waits for %v", i, wait)
		}
	}
	// However many came and went.
	for range 1000 {
		if wait := turns.next(one, now).Sub(now); wait > 10*time.Second {
			t.Fatalf("one waits for %v", wait)
		}
	}
	if at := turns.next(two, now); at != now {
		t.Errorf("another address waits for %v", at.Sub(now))
	}
	now = now.Add(31 * time.Second)
	for i := range 201 {
		if at := turns.next(one, now); (at == now) != (i < 200) {
			t.Fatalf("after a pause, subscription %d waits for %v", i, at.Sub(now))
		}
	}
	for i := range uint32(10_000) {
		turns.next(netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, i))), now)
		now = now.Add(time.Millisecond)
	}
	if n := len(turns.full); n > 1000 {
		t.Errorf("%d addresses are remembered, of which at most 301 have not their whole burst", n)
	}
}
