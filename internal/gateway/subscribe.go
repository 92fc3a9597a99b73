package gateway

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/feed"
	"github.com/dashflow/dashstream/internal/streampb"
	"github.com/dashflow/dashstream/internal/wire"
)

const (
	maxFilterValues = 1000
	maxFilterText   = 1024
	maxPartitions   = 10_000
	earliestTimeMS  = 0
	// latestTimeMS is the end of the year 9999.
	latestTimeMS = 253_402_300_799_999
)

// fieldError refuses a part of a client's frame, by its path.
type fieldError struct {
	field   string
	message string
}

func (e *fieldError) Error() string { return e.field + ": " + e.message }

func badField(field, format string, args ...any) *fieldError {
	return &fieldError{field: field, message: fmt.Sprintf(format, args...)}
}

// subscription is a Subscribe that was found good.
type subscription struct {
	start            feed.Start
	threads, tenants []string
	types            []dashstreampb.MessageType
	// startName is the start as a label.
	startName string
	// doubtful: it may be refused yet, since its cursor has partitions of which the
	// gateway does not know.
	doubtful bool
	// number counts the subscriptions of a session.
	number int
}

// decodeClientFrame reads a frame of either subprotocol. Unknown fields are
// refused, since a misspelt filter would select everything.
func decodeClientFrame(enc encoding, data []byte) (*streampb.ClientFrame, *fieldError) {
	f := &streampb.ClientFrame{}
	if enc == encodingProto {
		if err := proto.Unmarshal(data, f); err != nil {
			return nil, badField("frame", "not a protobuf ClientFrame: %v", err)
		}
		if hasUnknown(f.ProtoReflect()) {
			return nil, badField("frame", "a field that this server does not know")
		}
		return f, nil
	}
	if !utf8.Valid(data) {
		return nil, badField("frame", "not valid UTF-8")
	}
	if err := protojson.Unmarshal(data, f); err != nil {
		if bad := blame(f.ProtoReflect().Descriptor(), data); bad != nil {
			return nil, bad
		}
		return nil, badField("frame", "not a JSON ClientFrame: %s", clip(err.Error(), 200))
	}
	return f, nil
}

// hasUnknown looks for unknown fields at every depth.
func hasUnknown(m protoreflect.Message) bool {
	if len(m.GetUnknown()) > 0 {
		return true
	}
	found := false
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.Message() == nil:
		case f.IsList():
			for i := range v.List().Len() {
				found = found || hasUnknown(v.List().Get(i).Message())
			}
		default:
			found = found || hasUnknown(v.Message())
		}
		return !found
	})
	return found
}

// checkSubscribe turns a Subscribe into what the feed understands.
func checkSubscribe(s *streampb.Subscribe) (subscription, *fieldError) {
	out := subscription{startName: "latest"}
	switch from := s.GetStart().GetFrom().(type) {
	case nil:
	case *streampb.Start_Earliest:
		if !from.Earliest {
			return out, badField("subscribe.start.earliest", "false: want true, or leave it out")
		}
		out.start.Earliest, out.startName = true, "earliest"
	case *streampb.Start_Latest:
		if !from.Latest {
			return out, badField("subscribe.start.latest", "false: want true, or leave it out")
		}
	case *streampb.Start_SinceMs:
		if err := checkTime("subscribe.start.since_ms", from.SinceMs); err != nil {
			return out, err
		}
		out.start.SinceMS, out.startName = &from.SinceMs, "since"
	case *streampb.Start_Cursor:
		c, err := checkCursor("subscribe.start.cursor", from.Cursor)
		if err != nil {
			return out, err
		}
		out.start.Cursor, out.startName = &c, "cursor"
	}
	f := s.GetFilter()
	if err := checkTexts("subscribe.filter.threads", f.GetThreads()); err != nil {
		return out, err
	}
	if err := checkTexts("subscribe.filter.tenants", f.GetTenants()); err != nil {
		return out, err
	}
	if n := len(f.GetTypes()); n > maxFilterValues {
		return out, badField("subscribe.filter.types", "%d values: at most %d are allowed", n, maxFilterValues)
	}
	for i, t := range f.GetTypes() {
		if _, ok := dashstreampb.MessageType_name[int32(t)]; !ok {
			return out, badField(fmt.Sprintf("subscribe.filter.types[%d]", i), "%d: want one of %s", int32(t), wire.MessageTypeNames())
		}
	}
	out.threads, out.tenants, out.types = f.GetThreads(), f.GetTenants(), f.GetTypes()
	return out, nil
}

func checkTime(field string, ms int64) *fieldError {
	if ms < earliestTimeMS || ms > latestTimeMS {
		return badField(field, "%d: want milliseconds since 1970, from %d to %d", ms, earliestTimeMS, int64(latestTimeMS))
	}
	return nil
}

func checkTexts(field string, values []string) *fieldError {
	if len(values) > maxFilterValues {
		return badField(field, "%d values: at most %d are allowed", len(values), maxFilterValues)
	}
	for i, v := range values {
		switch {
		case v == "":
			return badField(fmt.Sprintf("%s[%d]", field, i), "empty: want 1 to %d bytes", maxFilterText)
		case len(v) > maxFilterText:
			return badField(fmt.Sprintf("%s[%d]", field, i), "%d bytes: want 1 to %d", len(v), maxFilterText)
		case !utf8.ValidString(v): // a URL can say it, and a frame cannot
			return badField(fmt.Sprintf("%s[%d]", field, i), "%q: want UTF-8", clip(v, 64))
		}
	}
	return nil
}

func checkCursor(field string, c *streampb.Cursor) (feed.Cursor, *fieldError) {
	out := feed.Cursor{StreamID: c.GetStreamId(), Offsets: make(map[int32]int64, len(c.GetPartitions()))}
	if out.StreamID == "" || len(out.StreamID) > 64 {
		return out, badField(field+".stream_id", "%d bytes: want the stream_id that hello told", len(out.StreamID))
	}
	if n := len(c.GetPartitions()); n > maxPartitions {
		return out, badField(field+".partitions", "%d: at most %d are allowed", n, maxPartitions)
	}
	for i, p := range c.GetPartitions() {
		at := fmt.Sprintf("%s.partitions[%d]", field, i)
		switch _, dup := out.Offsets[p.GetPartition()]; {
		case dup:
			return out, badField(at+".partition", "%d is listed twice", p.GetPartition())
		case p.GetPartition() < 0:
			return out, badField(at+".partition", "%d: want 0 or more", p.GetPartition())
		case p.GetNextOffset() < 0:
			return out, badField(at+".next_offset", "%d: want 0 or more", p.GetNextOffset())
		case p.GetLeaderEpoch() < 0:
			return out, badField(at+".leader_epoch", "%d: want 0 or more, or none", p.GetLeaderEpoch())
		}
		out.Offsets[p.GetPartition()] = p.GetNextOffset()
		if p.LeaderEpoch != nil {
			out.SetEpoch(p.GetPartition(), p.GetLeaderEpoch())
		}
	}
	return out, nil
}

// parameters are what the query of a URL may hold; those of once have one value.
var (
	parameters = []string{"from", "since_ms", "thread", "tenant", "type"}
	once       = []string{"from", "since_ms"}
)

// parseQuery reads the query of a URL. Unlike [url.URL.Query] it refuses what cannot
// be read: a filter or a cursor that is passed over would select something else.
// Values are not repeated in errors: a token may have got there.
func parseQuery(raw string) (url.Values, *fieldError) {
	q := url.Values{}
	for pair := range strings.SplitSeq(raw, "&") {
		if pair == "" {
			continue
		}
		written, _, assigned := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(written)
		if err != nil {
			name = written
		}
		if !slices.Contains(parameters, name) {
			which := "unknown parameter"
			if assigned { // else it may be a value that lost its name
				which = fmt.Sprintf("unknown parameter %q", clip(name, 64))
			}
			return nil, badField("query", "%s: want %s; a token goes into the header Authorization", which, strings.Join(parameters, ", "))
		}
		if strings.Contains(pair, ";") {
			return nil, badField("query."+name, "a semicolon as it is: write %%3B")
		}
		values, err := url.ParseQuery(pair)
		if err != nil {
			return nil, badField("query."+name, "a %% that two hexadecimal digits do not follow: write %%25 for a %%")
		}
		if values.Get(name) == "" {
			return nil, badField("query."+name, "empty: want a value, or leave it out")
		}
		if len(q[name]) == maxFilterValues {
			return nil, badField("query."+name, "more than %d values: at most %d are allowed", maxFilterValues, maxFilterValues)
		}
		q[name] = append(q[name], values.Get(name))
	}
	for _, k := range once {
		if len(q[k]) > 1 {
			return nil, badField("query."+k, "given %d times: want it once", len(q[k]))
		}
	}
	if q.Has("from") && q.Has("since_ms") {
		return nil, badField("query", "from and since_ms: want one of them")
	}
	return q, nil
}

// subscribeFromQuery reads the same request from the query of a URL:
// from=earliest|latest|CURSOR, since_ms=N, and any number of thread=, tenant=,
// type=. lastEventID, when not empty, stands for from. ok is false where the
// query asks for nothing.
func subscribeFromQuery(query, lastEventID string) (sub *streampb.Subscribe, ok bool, err *fieldError) {
	q, err := parseQuery(query)
	if err != nil {
		return nil, false, err
	}
	from := q.Get("from")
	field := "query.from"
	if lastEventID != "" {
		from, field = lastEventID, "Last-Event-ID"
		q.Del("since_ms")
	}
	start := &streampb.Start{}
	switch {
	case q.Get("since_ms") != "":
		ms, perr := strconv.ParseInt(q.Get("since_ms"), 10, 64)
		if perr != nil {
			return nil, false, badField("query.since_ms", "%q: want milliseconds since 1970", clip(q.Get("since_ms"), 64))
		}
		start.From = &streampb.Start_SinceMs{SinceMs: ms}
	case from == "" || from == "latest":
		start.From = &streampb.Start_Latest{Latest: true}
	case from == "earliest":
		start.From = &streampb.Start_Earliest{Earliest: true}
	default:
		c, cerr := feed.ParseCursor(from)
		if cerr != nil {
			return nil, false, badField(field, "want earliest, latest or a cursor: %v", cerr)
		}
		start.From = &streampb.Start_Cursor{Cursor: cursorPB(c)}
	}
	filter := &streampb.Filter{Threads: q["thread"], Tenants: q["tenant"]}
	for i, name := range q["type"] {
		t, terr := wire.ParseMessageType(name)
		if terr != nil {
			return nil, false, badField(fmt.Sprintf("query.type[%d]", i), "%v", terr)
		}
		filter.Types = append(filter.Types, t)
	}
	return &streampb.Subscribe{Start: start, Filter: filter}, lastEventID != "" || len(q) > 0, nil
}

func cursorPB(c feed.Cursor) *streampb.Cursor {
	out := &streampb.Cursor{StreamId: c.StreamID}
	for _, p := range sortedKeys(c.Offsets) {
		out.Partitions = append(out.Partitions, positionPB(p, c.Offsets[p], c.Epoch(p)))
	}
	return out
}
