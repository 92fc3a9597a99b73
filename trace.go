package dashstream

import (
	"context"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Bounds of a tracestate in the recommendation "Trace Context" of the W3C: bytes, entries, bytes of a key and of a value.
const (
	maxTraceState      = 512
	maxTraceEntries    = 32
	maxTraceKeyBytes   = 256
	maxTraceValueBytes = 256
)

// traceHeaders returns the trace context of ctx as headers. What breaks the grammar is no trace context, so it could be
// anything, and stays here.
func (p *Producer) traceHeaders(ctx context.Context) []kgo.RecordHeader {
	if p.cfg.trace == nil || ctx == nil {
		return nil
	}
	parent, state := p.cfg.trace(ctx)
	if parent == "" {
		return nil // a state says nothing without it
	}
	if !validTraceParent(parent) {
		p.warnTrace("traceparent", len(parent), "a version other than ff, a trace id, a parent id and flags, in small hexadecimal, ids not zero: 55 bytes")
		return nil
	}
	out := []kgo.RecordHeader{{Key: "traceparent", Value: []byte(parent)}}
	entries, ok := parseTraceState(state)
	if !ok {
		p.warnTrace("tracestate", len(state), "up to 32 entries key=value with keys that differ, 512 bytes")
		return out
	}
	if state = p.cleanTraceState(entries); state != "" {
		out = append(out, kgo.RecordHeader{Key: "tracestate", Value: []byte(state)})
	}
	return out
}

// warnTrace tells the logger once; the value is not told, since it may be a secret.
func (p *Producer) warnTrace(header string, size int, allowed string) {
	if !p.traceWarned.Swap(true) {
		p.logger.Warn("the function of WithTraceContext returned no valid trace context; it is left out", "header", header, "bytes", size, "allowed", allowed)
	}
}

// validTraceParent accepts version 00 and later ones that have no more fields: what these would say is not known.
func validTraceParent(s string) bool {
	if len(s) != len("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01") || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return false
	}
	version, trace, parent, flags := s[:2], s[3:35], s[36:52], s[53:]
	for _, part := range []string{version, trace, parent, flags} {
		if strings.Trim(part, "0123456789abcdef") != "" {
			return false
		}
	}
	return version != "ff" && strings.Trim(trace, "0") != "" && strings.Trim(parent, "0") != ""
}

type traceEntry struct{ key, value string }

func parseTraceState(s string) ([]traceEntry, bool) {
	if len(s) > maxTraceState {
		return nil, false
	}
	var entries []traceEntry
	keys := map[string]bool{}
	for member := range strings.SplitSeq(s, ",") {
		member = strings.Trim(member, " \t")
		if member == "" {
			continue
		}
		key, value, found := strings.Cut(member, "=")
		if !found || keys[key] || len(entries) == maxTraceEntries || !validTraceKey(key) || !validTraceValue(value) {
			return nil, false
		}
		keys[key] = true
		entries = append(entries, traceEntry{key, value})
	}
	return entries, true
}

// validTraceKey accepts a name of small letters, digits and _-*/, which begins with a letter, or tenant@system.
func validTraceKey(key string) bool {
	tenant, system, both := strings.Cut(key, "@")
	if !both {
		return len(key) <= maxTraceKeyBytes && traceName(key, false)
	}
	return len(tenant) <= 241 && len(system) <= 14 && traceName(tenant, true) && traceName(system, false)
}

func traceName(s string, digitFirst bool) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z':
		case '0' <= c && c <= '9' && (i > 0 || digitFirst), i > 0 && strings.IndexByte("_-*/", c) >= 0:
		default:
			return false
		}
	}
	return s != ""
}

// validTraceValue accepts printable ASCII without comma and equals sign, the last no space.
func validTraceValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == ',' || c == '=' {
			return false
		}
	}
	return s != "" && len(s) <= maxTraceValueBytes && s[len(s)-1] != ' '
}

// cleanTraceState returns the header without secrets. An entry whose key is one, or that has no room with its mask, is
// left out.
func (p *Producer) cleanTraceState(entries []traceEntry) string {
	var b strings.Builder
	for _, e := range entries {
		if p.redactor != nil {
			if p.redactor.Text(e.key) != e.key {
				continue
			}
			e.value = p.redactor.Field(e.key, e.value)
		}
		if !validTraceValue(e.value) || b.Len()+len(",")+len(e.key)+len("=")+len(e.value) > maxTraceState {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(e.key + "=" + e.value)
	}
	return b.String()
}
