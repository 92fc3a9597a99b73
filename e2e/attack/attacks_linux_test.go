package attack

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/gobwas/ws"
)

// attacks are held to their price, about four times what each was measured to cost.
var attacks = []attack{
	// Frames.
	{"10 MiB of pings", 400, flood(20, 4502, bytes.Repeat(frame(ws.OpPing, true, make([]byte, 125)), 80_000)[:512<<10])},
	{"tiny messages", 2000, flood(20, 4502, bytes.Repeat(frame(ws.OpText, true, []byte("{}")), 20_000))},
	{"tiny fragments", 400, flood(20, 4502, append(frame(ws.OpText, false, nil), bytes.Repeat(frame(ws.OpContinuation, false, []byte("x")), 20_000)...))},
	{"a compressed frame that was not agreed on", 400, flood(50, 4500, []byte{0xC1, 0x80, 0, 0, 0, 0})},
	{"a frame that claims to be huge", 400, flood(50, 4501, []byte{0x81, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0})},
	{"frames that never end", 1000, unfinished(90)}, // it takes 20 s, and what the calm client costs meanwhile is most of it
	{"deep JSON", 20_000, flood(10, 4502, bytes.Repeat(frame(ws.OpText, true, []byte(`{"subscribe":`+strings.Repeat("[", 9000)+strings.Repeat("]", 9000)+`}`)), 200))},
	{"deep JSON without an end", 8000, flood(10, 4502, bytes.Repeat(frame(ws.OpText, true, []byte(strings.Repeat(`{"subscribe":`, 18_000))), 20))},
	{"wide JSON", 20_000, flood(10, 4502, bytes.Repeat(frame(ws.OpText, true, wide()), 20))},
	// Subscriptions: each connection asks as often as it may.
	{"churn from the beginning", 60, churn(func(int) string { return `{"earliest":true}` }, "")},
	{"churn of filters", 60, churn(func(int) string { return `{"earliest":true}` }, `{"tenants":["%d"]}`)},
	{"churn of times", 60, churn(func(int) string { return fmt.Sprintf(`{"sinceMs":"%d"}`, time.Now().UnixMilli()-rand.Int64N(60_000)) }, "")},
	{"churn of positions", 60, func(a *attacker) {
		id := a.streamID()
		churn(func(int) string {
			return fmt.Sprintf(`{"cursor":{"streamId":%q,"partitions":[{"partition":0,"nextOffset":"%d"},{"partition":1,"nextOffset":"%d"}]}}`, id, rand.IntN(6000), rand.IntN(6000))
		}, "")(a)
	}},
	{"churn of foreign positions", 60, churn(func(i int) string {
		return fmt.Sprintf(`{"cursor":{"streamId":"x%d","partitions":[{"partition":0,"nextOffset":"1"}]}}`, i)
	}, "")},
	// Connections.
	{"handshakes", 120, connects(500, func(a *attacker) { _ = a.websocket("", "json").Close() })},
	{"handshakes that subscribe", 400, connects(500, func(a *attacker) { _ = a.websocket("?from=earliest", "json").Close() })},
	{"event streams", 400, connects(500, func(a *attacker) {
		c := a.dial()
		a.write(c, request("GET /v1/stream?from=earliest")+"\r\n")
		_, _ = c.Read(make([]byte, 512))
		_ = c.Close()
	})},
	{"connections without a word", 40, connects(500, func(a *attacker) { _ = a.dial().Close() })},
	{"clients that read nothing", 20_000, connects(40, func(a *attacker) { a.hold(a.websocket("?from=earliest", "json")) })},
	// Requests.
	{"long queries", 2000, requests(50, "/v1/stream?"+strings.Repeat("thread=a&", 28_000), 400)},
	{"many headers", 4000, requests(50, "/livez", 200, strings.Repeat("A:b\r\n", 40_000))},
	{"headers without an end", 4000, headers(60)},
	{"slow bodies", 400, bodies(60)},
	{"scrapes", 400, requests(200, "/metrics", 200)},
	{"versions", 40, requests(2000, "/version", 200)},
	{"guesses of a path", 40, requests(2000, "/"+strings.Repeat("a", 100), 404)},
	// Records.
	{"decompression bombs", 40_000, bombs},
}

// flood sends the same to each of so many sessions, which end with a code.
func flood(sessions, code int, frames []byte) func(*attacker) {
	return func(a *attacker) {
		for range sessions {
			s := a.websocket("", "json")
			go func() { _, _ = s.Write(frames) }() // until it is ended
			if got := s.end(); got != code {
				a.t.Errorf("the session ended with %d, want %d", got, code)
			}
			_ = s.Close()
			a.units++
		}
	}
}

func wide() []byte {
	b := []byte(`{"x":{`)
	for i := range 20_000 {
		b = fmt.Appendf(b, `"k%d":1,`, i)
	}
	return append(b, `"z":1}}`...)
}

// unfinished begins a message in each of so many sessions: 256 KiB but for a byte.
func unfinished(sessions int) func(*attacker) {
	return func(a *attacker) {
		begun := frame(ws.OpText, true, make([]byte, 256<<10))
		all := make([]*socket, sessions)
		for i := range all {
			all[i] = a.websocket("", "json")
			a.write(all[i], string(begun[:len(begun)-1]))
			a.units++
		}
		for _, s := range all {
			if got := s.end(); got != 4003 {
				a.t.Errorf("the session ended with %d, want 4003", got)
			}
			_ = s.Close()
		}
	}
}

// churn subscribes on 40 connections, 45 times a second each, for two seconds.
func churn(start func(int) string, filter string) func(*attacker) {
	return func(a *attacker) {
		all := make([]*socket, 40)
		for i := range all {
			all[i] = a.websocket("", "json")
			go func() { _, _ = io.Copy(io.Discard, all[i].in) }()
		}
		tick := time.NewTicker(time.Second / 45)
		defer tick.Stop()
		for i := range 90 {
			for _, s := range all {
				f := "{}"
				if filter != "" {
					f = fmt.Sprintf(filter, a.units)
				}
				a.write(s, string(frame(ws.OpText, true, fmt.Appendf(nil, `{"subscribe":{"start":%s,"filter":%s}}`, start(i), f))))
				a.units++
			}
			<-tick.C
		}
		for _, s := range all {
			_ = s.Close()
		}
	}
}

func connects(n int, connect func(*attacker)) func(*attacker) {
	return func(a *attacker) {
		for range n {
			connect(a)
			a.units++
		}
		a.letGo()
	}
}

// requests sends requests one after another without waiting for answers.
func requests(n int, path string, status int, headers ...string) func(*attacker) {
	return func(a *attacker) {
		c := a.dial()
		defer func() { _ = c.Close() }()
		one := request("GET "+path, headers...) + "\r\n"
		go func() { _, _ = io.WriteString(c, strings.Repeat(one, n)) }()
		in := a.reader(c)
		for range n {
			resp, err := http.ReadResponse(in, nil)
			if err == nil {
				_, err = io.Copy(io.Discard, resp.Body)
			}
			if err != nil || resp.StatusCode != status {
				a.t.Fatalf("request %d: %v, %v, want status %d", a.units, resp, err, status)
			}
			a.units++
		}
	}
}

// headers holds so many connections whose header does not end: what they take of
// memory is bounded, and those beyond are told so.
func headers(n int) func(*attacker) {
	return func(a *attacker) {
		refused := 0
		for range n {
			c := a.dial()
			a.hold(c)
			_, _ = io.WriteString(c, request("GET /v1/stream", "X: "+strings.Repeat("x", 250_000))) // or it is refused meanwhile
			a.units++
		}
		for _, c := range a.held {
			if resp, err := http.ReadResponse(a.reader(c), nil); err == nil && resp.StatusCode == http.StatusRequestHeaderFieldsTooLarge {
				refused++
			}
		}
		if refused == 0 {
			a.t.Errorf("of %d headers of 250 KB from one address none was refused", n)
		}
		a.letGo()
	}
}

// bodies promises bodies that do not come.
func bodies(n int) func(*attacker) {
	return func(a *attacker) {
		for range n {
			c := a.dial()
			a.write(c, request("POST /v1/session", "Content-Length: 1000000000\r\n")+"\r\nslow")
			a.hold(c)
			a.units++
		}
		for _, c := range a.held {
			resp, err := http.ReadResponse(a.reader(c), nil)
			if err != nil || resp.StatusCode != http.StatusMethodNotAllowed {
				a.t.Errorf("%v, %v, want 405", resp, err)
			}
		}
		a.letGo()
	}
}

// bombs are records of a few hundred bytes, each of which is 9 MiB once it is
// decompressed, and clients that ask for them as JSON.
func bombs(a *attacker) {
	thread := fmt.Sprint("bomb-", a.site)
	a.put(thread, 10, strings.Repeat("\x01", 9<<20), strings.Repeat("x", 9<<20))
	for range 4 {
		s := a.websocket("?from=earliest&thread="+thread, "json")
		shown, _, err := s.count("too_large", "caughtUp")
		if err != nil || shown != 10 {
			a.t.Errorf("%d records were shown as too large, want 10: %v", shown, err)
		}
		_ = s.Close()
		a.units += 20
	}
}
