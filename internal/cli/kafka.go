package cli

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/dashflow/dashstream/internal/kafkaclient"
	"github.com/dashflow/dashstream/internal/settings"
)

// again is what follows another command so that it means the cluster and topic of this one, in the same way: the flags that
// name them, and the other Kafka flags that were given. Secrets are left out. Variables are still there.
func (p *Process) again(s kafkaclient.Settings) string {
	out := s.CommandFlags()
	fields, err := settings.Fields(&s)
	if err != nil {
		return out
	}
	for _, f := range fields {
		text, given := p.flags[f.Flag]
		switch f.Env() {
		case "KAFKA_BROKERS", "KAFKA_TOPIC", "KAFKA_DLQ_TOPIC":
			continue // said above, whatever they come from
		}
		if given && !f.Secret {
			out += " --" + f.Flag + "=" + kafkaclient.Quoted(text)
		}
	}
	return out
}

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
	var connections kafkaclient.Connections
	client, err := kgo.NewClient(append(append(opts, kgo.WithHooks(&connections)), extra...)...)
	if err != nil {
		return nil, fmt.Errorf("create kafka client: %w", err)
	}
	// A client connects when it is first used, and then tries for long. Ping says at once what is wrong.
	if err := client.Ping(ctx); err != nil {
		client.Close()
		return nil, s.Explain(kafkaclient.OpConnect, fmt.Errorf("connect to kafka at %s: %w", s.Brokers, kafkaclient.WithFailure(err, connections.Failure())))
	}
	return client, nil
}
