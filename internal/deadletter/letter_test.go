package deadletter

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"
)

func TestLettersComeBackAsTheyWereWritten(t *testing.T) {
	t.Parallel()
	from := Source{
		Topic: "t", Partition: 3, Offset: math.MaxInt64, Timestamp: time.UnixMilli(1_700_000_000_123),
		Key: []byte{0, 0xff}, Value: []byte(strings.Repeat("x", MaxPayload+1)),
	}
	for _, keep := range []bool{false, true} {
		l := newLetter("exporter", "malformed", strings.Repeat("é", 2000), from, keep, time.UnixMilli(5))
		b, err := json.Marshal(l)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(b), `"offset":"9223372036854775807"`) {
			t.Errorf("the offset is no string of digits: %.300s", b)
		}
		got, err := Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		if got.RecordKey() != "t/3/9223372036854775807" || got.TimestampMS != 1_700_000_000_123 || string(got.Key) != string(from.Key) || got.PayloadSize != MaxPayload+1 {
			t.Errorf("read back %+v", got)
		}
		if !got.Matches(from.Value) || got.Matches(from.Value[1:]) {
			t.Error("the letter does not know its record")
		}
		if keep != (len(got.Payload) == MaxPayload && got.PayloadTruncated) || !keep && got.Payload != nil {
			t.Errorf("keep %v: %d bytes of the payload, truncated %v", keep, len(got.Payload), got.PayloadTruncated)
		}
		if len(got.Error) > maxErrorBytes || len(b) > maxLetter {
			t.Errorf("an error of %d bytes in a letter of %d", len(got.Error), len(b))
		}
	}
}

func TestLettersOfOthersAreRefused(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`x`:             "no letter",
		`{}`:            "version 0",
		`{"version":2}`: "version 2",
		`{"version":1}`: "topic",
		`{"version":1,"topic":"a/b","reason":"x"}`:                                         "topic",
		`{"version":1,"topic":"a","offset":"-1","reason":"x"}`:                             "offset -1",
		`{"version":1,"topic":"a","partition":-1,"reason":"x"}`:                            "partition -1",
		`{"version":1,"topic":"a"}`:                                                        "reason",
		`{"version":1,"topic":"a","reason":"x","payload":"AAAA","payload_size":2}`:         "payload",
		`{"version":1,"topic":"a","reason":"x","error":"` + strings.Repeat("y", maxLetter): "bytes",
	} {
		if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80s: %v, want an error that names %q", text, err, want)
		}
	}
}
