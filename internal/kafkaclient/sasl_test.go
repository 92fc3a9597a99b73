package kafkaclient_test

import (
	"context"
	"errors"
	"os"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/dashflow/dashstream/internal/kafkaclient"
)

func sasl(addr string, mechanism kafkaclient.SASLMechanism, user, password string) kafkaclient.Settings {
	s := at(addr)
	s.SecurityProtocol, s.SASLMechanism = kafkaclient.ProtocolSASLPlaintext, mechanism
	s.SASLUsername, s.SASLPassword = user, kafkaclient.NewSecret(password)
	return s
}

func TestPasswords(t *testing.T) {
	t.Parallel()
	mechanisms := []kafkaclient.SASLMechanism{kafkaclient.MechanismPlain, kafkaclient.MechanismScramSHA256, kafkaclient.MechanismScramSHA512}
	for i, m := range mechanisms {
		t.Run(string(m), func(t *testing.T) {
			t.Parallel()
			addr := broker(t, kfake.EnableSASL(), kfake.Superuser(string(m), "alice", "hunter2,=é")).ListenAddrs()[0]
			if err := probe(t, sasl(addr, m, "alice", "hunter2,=é")); err != nil {
				t.Errorf("right password: %v", err)
			}
			wrong := probe(t, sasl(addr, m, "alice", "hunter2wrong"))
			wantExplained(t, wrong, kafkaclient.ClassAuthentication, "KAFKA_SASL_USERNAME", "KAFKA_SASL_PASSWORD", "password is wrong")
			unknown := probe(t, sasl(addr, m, "bob", "hunter2"))
			wantExplained(t, unknown, kafkaclient.ClassAuthentication, "KAFKA_SASL_USERNAME")
			other := mechanisms[(i+1)%len(mechanisms)]
			wantExplained(t, probe(t, sasl(addr, other, "alice", "hunter2,=é")), kafkaclient.ClassAuthentication,
				"KAFKA_SASL_MECHANISM", "now "+string(other))
			wantExplained(t, probe(t, at(addr)), kafkaclient.ClassAuthentication, "expects SASL", "KAFKA_SECURITY_PROTOCOL", "now plaintext")
		})
	}
}

// A password in a file is read at each authentication: a rotated one works without a restart.
func TestPasswordFileIsReadAgain(t *testing.T) {
	t.Parallel()
	addr := broker(t, kfake.EnableSASL(), kfake.Superuser("PLAIN", "alice", "new")).ListenAddrs()[0]
	s := sasl(addr, kafkaclient.MechanismPlain, "alice", "")
	s.SASLPasswordFile = writeFile(t, "password", "old\n")
	cl := client(t, s)
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	wantExplained(t, s.Probe(ctx, cl, kafkaclient.OpInspect, s.Topic), kafkaclient.ClassAuthentication, "password is wrong")
	if err := os.WriteFile(s.SASLPasswordFile, []byte("new\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Probe(ctx, cl, kafkaclient.OpInspect, s.Topic); err != nil {
		t.Errorf("with the new password: %v", err)
	}
	s.SASLPasswordFile = "/no/such/file"
	wantExplained(t, probe(t, s), kafkaclient.ClassCredentials, "KAFKA_SASL_PASSWORD_FILE", "no such file")
}

func TestSASLClientToOpenBroker(t *testing.T) {
	t.Parallel()
	c := broker(t)
	err := probe(t, sasl(c.ListenAddrs()[0], kafkaclient.MechanismPlain, "alice", "hunter2"))
	wantExplained(t, err, kafkaclient.ClassAuthentication, "no SASL", "KAFKA_SASL_MECHANISM", "KAFKA_SECURITY_PROTOCOL")
}

// saslBroker is a broker that hears the mechanism and then the first words of the client, and answers with the codes.
func saslBroker(t *testing.T, handshake, authenticate *kerr.Error, heard func(mechanism string, first []byte), opts ...kfake.Opt) string {
	t.Helper()
	code := func(e *kerr.Error) int16 {
		if e == nil {
			return 0
		}
		return e.Code
	}
	c := broker(t, opts...)
	var mechanism string // requests of one cluster come one at a time
	c.ControlKey(int16(kmsg.SASLHandshake), func(request kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		mechanism = request.(*kmsg.SASLHandshakeRequest).Mechanism
		response := request.ResponseKind().(*kmsg.SASLHandshakeResponse)
		response.ErrorCode, response.SupportedMechanisms = code(handshake), []string{"OTHER"}
		return response, nil, true
	})
	c.ControlKey(int16(kmsg.SASLAuthenticate), func(request kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		if heard != nil {
			heard(mechanism, request.(*kmsg.SASLAuthenticateRequest).SASLAuthBytes)
		}
		response := request.ResponseKind().(*kmsg.SASLAuthenticateResponse)
		response.ErrorCode = code(authenticate)
		if authenticate != nil {
			response.ErrorMessage = kmsg.StringPtr("broker says no")
		}
		return response, nil, true
	})
	return c.ListenAddrs()[0]
}

// Brokers that refuse with a code, as Apache Kafka does.
func TestRefusalByCode(t *testing.T) {
	t.Parallel()
	plain := func(addr string) kafkaclient.Settings {
		return sasl(addr, kafkaclient.MechanismPlain, "alice", "hunter2")
	}
	wantExplained(t, probe(t, plain(saslBroker(t, kerr.UnsupportedSaslMechanism, nil, nil))), kafkaclient.ClassAuthentication,
		"does not offer this SASL mechanism", "KAFKA_SASL_MECHANISM", "now PLAIN")
	wantExplained(t, probe(t, plain(saslBroker(t, kerr.IllegalSaslState, nil, nil))), kafkaclient.ClassAuthentication,
		"does not authenticate with SASL", "KAFKA_SECURITY_PROTOCOL", "now sasl_plaintext")
	wantExplained(t, probe(t, plain(saslBroker(t, nil, kerr.SaslAuthenticationFailed, nil))), kafkaclient.ClassAuthentication,
		"password is wrong", "KAFKA_SASL_PASSWORD")
	token := at(saslBroker(t, nil, kerr.SaslAuthenticationFailed, nil))
	token.SecurityProtocol, token.SASLMechanism = kafkaclient.ProtocolSASLPlaintext, kafkaclient.MechanismOAuthBearer
	token.OAuthTokenFile = writeFile(t, "token", "hunter2")
	wantExplained(t, probe(t, token), kafkaclient.ClassAuthentication, "does not accept the token", "KAFKA_SASL_OAUTHBEARER_TOKEN_FILE")
}

// A missing ACL is explained with the permission that the operation needs and the resource it needs it on.
func TestMissingACL(t *testing.T) {
	t.Parallel()
	const topic = kafkaclient.DefaultTopic
	allow := func(resource kmsg.ACLResourceType, name string, op kmsg.ACLOperation) kfake.ACL {
		return kfake.ACL{Resource: resource, Name: name, Pattern: kmsg.ACLResourcePatternTypeLiteral, Operation: op, Allow: true}
	}
	addr := broker(t, kfake.EnableSASL(), kfake.EnableACLs(),
		kfake.Superuser("PLAIN", "admin", "p"),
		kfake.User("PLAIN", "nobody", "p"),
		kfake.User("PLAIN", "viewer", "p", allow(kmsg.ACLResourceTypeTopic, topic, kmsg.ACLOperationDescribe)),
		kfake.User("PLAIN", "reader", "p", allow(kmsg.ACLResourceTypeTopic, topic, kmsg.ACLOperationRead)),
	).ListenAddrs()[0]
	as := func(user string) kafkaclient.Settings { return sasl(addr, kafkaclient.MechanismPlain, user, "p") }
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()

	wantExplained(t, probe(t, as("nobody")), kafkaclient.ClassAuthorization, `user "nobody" lacks`, "DESCRIBE", topic)
	if err := probe(t, as("viewer")); err != nil {
		t.Errorf("DESCRIBE is enough to probe: %v", err)
	}

	s := as("viewer")
	err := client(t, s).ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte("v")}).FirstErr()
	wantExplained(t, s.Explain(kafkaclient.OpProduce, err), kafkaclient.ClassAuthorization, `user "viewer" lacks`, "WRITE")

	fetches := client(t, s, kgo.ConsumeTopics(topic)).PollFetches(ctx)
	wantExplained(t, s.Explain(kafkaclient.OpConsume, fetches.Err0()), kafkaclient.ClassAuthorization, "READ", topic)

	s = as("reader")
	s.GroupID = "workers"
	group, err := s.GroupOptions()
	if err != nil {
		t.Fatal(err)
	}
	fetches = client(t, s, append(group, kgo.ConsumeTopics(topic))...).PollFetches(ctx)
	groupErr, _ := errors.AsType[*kgo.ErrGroupSession](fetches.Err())
	if groupErr == nil {
		t.Fatalf("want a group error, got %v", fetches.Err())
	}
	wantExplained(t, s.Explain(kafkaclient.OpGroup, groupErr), kafkaclient.ClassAuthorization, `consumer group "workers"`, "READ")

	_, err = adminOf(t, as("viewer")).CreateTopic(ctx, 1, 1, nil, "new")
	wantExplained(t, as("viewer").Explain(kafkaclient.OpCreate, err), kafkaclient.ClassAuthorization, "CREATE")
}
