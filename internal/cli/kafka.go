package cli

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/dashflow/dashstream/internal/kafkaclient"
)

// connect returns a client that a broker has answered, or an error that says why none did. role tells the client apart
// in the brokers' logs. The caller closes the client; ctx bounds only the attempt.
func (p *Process) connect(ctx context.Context, s kafkaclient.Settings, role string, extra ...kgo.Opt) (*kgo.Client, error) {
	opts, err := s.ClientOptions(p.Log, programName+"-"+role)
	if err != nil {
		return nil, err
	}
	for _, w := range s.Warnings() {
		p.Log.Warn(w)
	}
	p.Log.Debug("connect to kafka", slog.Any("kafka", s))
	client, err := kgo.NewClient(append(opts, extra...)...)
	if err != nil {
		return nil, fmt.Errorf("create kafka client: %w", err)
	}
	// A client connects when it is first used, and then tries for long. Ping says at once what is wrong.
	if err := client.Ping(ctx); err != nil {
		client.Close()
		return nil, s.Explain(kafkaclient.OpConnect, fmt.Errorf("connect to kafka at %s: %w", s.Brokers, err))
	}
	return client, nil
}
