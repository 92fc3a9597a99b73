package gateway

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/feed"
)

func key() largeKey { return largeKey{segment: &feed.Segment{}} }

func frameOf(n int) func() []byte { return func() []byte { return make([]byte, n) } }

func TestLargeFramesStayWithinTheirBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newLargeFrames(100)
		take := func(k largeKey, most int64, size int) *lease {
			t.Helper()
			l, err := f.acquire(t.Context(), k, most)
			if err != nil {
				t.Fatal(err)
			}
			if b, err := f.make(t.Context(), l, frameOf(size)); err != nil || len(b) != size {
				t.Fatalf("a frame of %d bytes, error %v, want %d", len(b), err, size)
			}
			return l
		}
		shared := key()
		first := take(shared, 60, 40)
		again, err := f.acquire(t.Context(), shared, 60)
		if err != nil || again != first || f.bytes != 40 {
			t.Fatalf("the same frame again: %v, %v, %d bytes held, want the first and 40", again, err, f.bytes)
		}
		second := take(key(), 60, 60)

		// There is no room for a third until somebody gives one back.
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, errNoRoom)
		if _, err := f.acquire(ctx, key(), 1); !errors.Is(err, errNoRoom) {
			t.Errorf("beyond the bound: %v, want %v", err, errNoRoom)
		}
		cancel()
		if f.wanted() {
			t.Error("somebody is said to wait who gave up")
		}
		got := make(chan *lease)
		go func() {
			l, err := f.acquire(t.Context(), key(), 50)
			if err != nil {
				t.Error(err)
			}
			got <- l
		}()
		synctest.Wait()
		if !f.wanted() {
			t.Error("nobody is said to wait")
		}
		f.release(first) // in use by again
		synctest.Wait()
		select {
		case <-got:
			t.Fatal("room was made of a frame that is in use")
		default:
		}
		f.release(second)
		third := <-got
		// A frame that nobody uses is found again until its room is needed.
		f.release(again)
		if l, err := f.acquire(t.Context(), shared, 60); err != nil || l != first {
			t.Errorf("a frame that was given back: %v, %v, want the first", l, err)
		}
		f.release(first)
		f.release(third)
		// One is always let through, however large.
		huge := take(key(), 500, 300)
		f.release(huge)
		if f.bytes != 0 || len(f.held) != 0 || f.idle.Len() != 0 {
			t.Errorf("%d bytes of %d frames are left, want none", f.bytes, len(f.held))
		}
	})
}

func TestAFrameThatCannotBeMadeIsMadeAnew(t *testing.T) {
	t.Parallel()
	f, k := newLargeFrames(100), key()
	l, err := f.acquire(t.Context(), k, 10)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.make(t.Context(), l, func() []byte { panic("broken") })
	if _, ok := errors.AsType[*feed.EncodeError](err); !ok {
		t.Fatalf("%v, want an EncodeError", err)
	}
	f.release(l)
	if l, err = f.acquire(t.Context(), k, 10); err != nil {
		t.Fatal(err)
	}
	if b, err := f.make(t.Context(), l, frameOf(10)); err != nil || len(b) != 10 {
		t.Errorf("later: %d bytes, %v", len(b), err)
	}
}

// What is counted before a message is encoded is never more than what it takes.
func TestTheJSONOfAMessageIsNotOverestimated(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOf(rapid.RuneFrom([]rune{0, 1, 9, 10, 0x22, 0x5c, 0x7f, 'a', 'é', '<', 0x2028}))
		m := &dashstreampb.DashStreamMessage{Message: &dashstreampb.DashStreamMessage_Event{Event: &dashstreampb.Event{
			Header: &dashstreampb.Header{MessageId: rapid.SliceOf(rapid.Byte()).Draw(t, "id"), ThreadId: text.Draw(t, "thread"), Sequence: rapid.Uint64().Draw(t, "seq")},
			NodeId: text.Draw(t, "node"), DurationUs: rapid.Int64().Draw(t, "d"),
			Attributes: map[string]*dashstreampb.AttributeValue{
				text.Draw(t, "k"): {Value: &dashstreampb.AttributeValue_StringValue{StringValue: text.Draw(t, "v")}},
				"list": {Value: &dashstreampb.AttributeValue_ArrayValue{ArrayValue: &dashstreampb.AttributeArray{Values: []*dashstreampb.AttributeValue{
					{Value: &dashstreampb.AttributeValue_BoolValue{BoolValue: true}}, {Value: &dashstreampb.AttributeValue_FloatValue{FloatValue: 1}}, {},
				}}}},
			},
		}}}
		b, err := marshalJSON(m)
		if err != nil {
			t.Skip(err)
		}
		if jsonExceeds(m.ProtoReflect(), len(b)) {
			t.Fatalf("%d bytes are said to be more: %s", len(b), b)
		}
		if least := len(b) / 3; !jsonExceeds(m.ProtoReflect(), least) {
			t.Fatalf("%s is said to take no more than %d bytes", b, least)
		}
	})
}
