package kafkaclient

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// Fetched credentials are kept until shortly before their end, one fetch serves all who wait, and a caller that gives up
// does not wait for it.
func TestCredentialsCache(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fetches := 0
		slow := 5 * time.Second
		c := newCache(func(ctx context.Context) (fetched[int], error) {
			fetches++
			n := fetches
			select {
			case <-time.After(slow):
			case <-ctx.Done():
				return fetched[int]{}, ctx.Err()
			}
			return fetched[int]{n, time.Now().Add(time.Hour)}, nil
		})
		results := make(chan int, 10)
		for range cap(results) {
			go func() {
				n, err := c.get(t.Context())
				if err != nil {
					t.Error(err)
				}
				results <- n
			}()
		}
		synctest.Wait() // one fetches, the others wait for it
		impatient, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.get(impatient); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a caller with a deadline waited: %v", err)
		}
		for range cap(results) {
			if n := <-results; n != 1 {
				t.Errorf("got fetch %d, want all from the first", n)
			}
		}
		time.Sleep(time.Hour - 2*time.Minute) // fake time
		if n, err := c.get(t.Context()); n != 1 || err != nil {
			t.Errorf("two minutes before the end: fetch %d, %v", n, err)
		}
		time.Sleep(90 * time.Second)
		if n, err := c.get(t.Context()); n != 2 || err != nil {
			t.Errorf("half a minute before the end: fetch %d, %v", n, err)
		}
	})
}

func TestCredentialsCacheKeepsNoFailure(t *testing.T) {
	t.Parallel()
	failure := errors.New("down")
	c := newCache(func(context.Context) (fetched[int], error) {
		err := failure
		failure = nil
		return fetched[int]{1, time.Time{}}, err
	})
	if _, err := c.get(t.Context()); err == nil {
		t.Error("want the failure")
	}
	if n, err := c.get(t.Context()); n != 1 || err != nil {
		t.Errorf("a failure must not be kept: %d, %v", n, err)
	}
}
