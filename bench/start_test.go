package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"hash/crc32"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const startTopic = "start"

// BenchmarkStart starts the program on a log of 1 GiB, in batches as a busy producer
// makes them, and waits until it is ready. Every batch's checksum is looked at; bare
// is reading and summing the same files.
func BenchmarkStart(b *testing.B) {
	const size = 1 << 30
	binary := filepath.Join(b.TempDir(), "dashstream")
	if out, err := exec.Command("go", "build", "-o", binary, "../cmd/dashstream").CombinedOutput(); err != nil {
		b.Fatalf("build: %v\n%s", err, out)
	}
	data := filepath.Join(b.TempDir(), "data")
	up := startUp(b, binary, data)
	cl, err := kgo.NewClient(kgo.SeedBrokers(up.Kafka), kgo.DefaultProduceTopic(startTopic), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerBatchMaxBytes(64<<10))
	if err != nil {
		b.Fatal(err)
	}
	random := rand.NewChaCha8([32]byte{})
	recs := make([]*kgo.Record, 10_000)
	for written := 0; written < size; {
		for i := range recs {
			v := make([]byte, 300)
			_, _ = random.Read(v) // never fails
			recs[i] = &kgo.Record{Key: v[:8], Value: v}
			written += len(v) + 20
		}
		if err := cl.ProduceSync(context.Background(), recs...).FirstErr(); err != nil {
			b.Fatal(err)
		}
	}
	cl.Close()
	up.stop(b)

	var bare time.Duration
	b.Run("bare", func(b *testing.B) {
		var read int64
		for b.Loop() {
			read = sumFiles(b, data)
		}
		bare = b.Elapsed() / time.Duration(b.N)
		b.ReportMetric(float64(read)/(1<<30), "GiB")
	})
	b.Run("up", func(b *testing.B) {
		for b.Loop() {
			up := startUp(b, binary, data)
			b.StopTimer()
			up.stop(b)
			b.StartTimer()
		}
		b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s/start")
		if bare > 0 {
			b.ReportMetric(float64(b.Elapsed()/time.Duration(b.N))/float64(bare), "time/bare")
		}
	})
}

func sumFiles(b *testing.B, dir string) (read int64) {
	b.Helper()
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		n, err := io.Copy(sum, bufio.NewReaderSize(f, 1<<20))
		read += n
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return read
}

// program is a run of "dashstream up".
type program struct {
	cmd   *exec.Cmd
	Kafka string `json:"kafka"`
}

// startUp returns once the program is ready.
func startUp(b *testing.B, binary, data string) *program {
	b.Helper()
	ready := filepath.Join(b.TempDir(), "ready")
	p := &program{cmd: exec.Command(binary, "up", "--data-dir", data, "--kafka-topic", startTopic, "--listen", "127.0.0.1:0", "--kafka-listen", "127.0.0.1:0", "--log-level", "error", "--ready-file", ready)}
	p.cmd.Stderr = os.Stderr
	if err := p.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = p.cmd.Process.Kill() }) // it may have ended
	for deadline := time.Now().Add(time.Minute); ; {
		if text, err := os.ReadFile(ready); err == nil {
			if err := json.Unmarshal(text, p); err != nil {
				b.Fatalf("%s: %v", text, err)
			}
			return p
		}
		if time.Now().After(deadline) {
			b.Fatal("up is not ready after a minute")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (p *program) stop(b *testing.B) {
	b.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		b.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil {
		b.Fatal(err)
	}
}
