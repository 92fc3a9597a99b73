package wire

import (
	"bytes"
	"testing"

	pb "github.com/dashflow/dashstream/dashstreampb"
)

func TestDecodedSizeIsWhatDecompressingGives(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 100, 600, 100_000} {
		frame, err := Append(nil, &pb.DashStreamMessage{Message: &pb.DashStreamMessage_TokenChunk{TokenChunk: &pb.TokenChunk{
			Header: &pb.Header{MessageId: make([]byte, 16), ThreadId: "t"}, Text: string(bytes.Repeat([]byte("x"), n)),
		}}}, MaxProducerBytes)
		if err != nil {
			t.Fatal(err)
		}
		want := len(frame)
		if frame[0] == frameZstd {
			plain, err := Decompress(nil, frame[1:], DefaultMaxBytes)
			if err != nil {
				t.Fatal(err)
			}
			want = len(plain)
		}
		if got := DecodedSize(frame, DefaultMaxBytes); got != want {
			t.Errorf("%d bytes of text: %d, want %d", n, got, want)
		}
		if got := DecodedSize(frame, 1000); got != min(want, max(1000, len(frame))) {
			t.Errorf("%d bytes of text with a limit of 1000: %d", n, got)
		}
	}
	for _, junk := range [][]byte{nil, {1}, {1, 2, 3}, {9, 9}, bytes.Repeat([]byte{1}, 50)} {
		if got := DecodedSize(junk, 10); got < len(junk) {
			t.Errorf("%x: %d", junk, got)
		}
	}
}
