package gateway

import "github.com/dashflow/dashstream/internal/feed"

// BreakEncoder has the encoding of a segment panic when a function says so. It is
// called before the gateway has clients.
func BreakEncoder(g *Gateway, breaks func() bool) {
	encode := g.hub.encode
	g.hub.encode = func(enc encoding, stream string) func(*feed.Segment, *feed.Filter) ([]byte, int) {
		return func(s *feed.Segment, f *feed.Filter) ([]byte, int) {
			if breaks() {
				panic("broken on purpose")
			}
			return encode(enc, stream)(s, f)
		}
	}
}
