package kafkaclient

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/aws"
	"github.com/twmb/franz-go/pkg/sasl/oauth"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// saslMechanism returns the mechanism of validated settings. Secrets are fetched at each authentication, so a rotated
// password or token is used by the next connection without a restart.
func (s Settings) saslMechanism() (sasl.Mechanism, error) {
	switch s.SASLMechanism {
	case MechanismPlain:
		return credentialed(plain.Plain(func(context.Context) (plain.Auth, error) {
			password, err := s.password()
			return plain.Auth{User: s.SASLUsername, Pass: password}, err
		})), nil
	case MechanismScramSHA256:
		return credentialed(scram.Sha256(s.scramAuth)), nil
	case MechanismScramSHA512:
		return credentialed(scram.Sha512(s.scramAuth)), nil
	case MechanismOAuthBearer:
		fetch := s.tokenSource()
		return credentialed(oauth.Oauth(func(ctx context.Context) (oauth.Auth, error) {
			token, err := fetch(ctx)
			return oauth.Auth{Token: token, Extensions: s.OAuthExtensions}, err
		})), nil
	case MechanismAWSMSKIAM:
		// Without a home directory there is no default file, which is no error: the keys may come from elsewhere.
		home, _ := os.UserHomeDir()
		return credentialed(aws.ManagedStreamingIAM(s.awsCredentials(home))), nil
	default:
		return nil, fmt.Errorf("KAFKA_SASL_MECHANISM=%q: not supported", s.SASLMechanism)
	}
}

// authenticationRequests is how many requests a connection has sent when it is authenticated: versions, handshake, and
// one or, for SCRAM, two steps.
func (s Settings) authenticationRequests() int64 {
	switch {
	case !s.SecurityProtocol.SASL():
		return 0
	case s.SASLMechanism == MechanismScramSHA256 || s.SASLMechanism == MechanismScramSHA512:
		return saslHandshakeRequest + 2
	default:
		return saslHandshakeRequest + 1
	}
}

func (s Settings) scramAuth(context.Context) (scram.Auth, error) {
	password, err := s.password()
	return scram.Auth{User: s.SASLUsername, Pass: password}, err
}

func (s Settings) password() (string, error) {
	secret, err := secretOrFile(s.SASLPassword, "KAFKA_SASL_PASSWORD_FILE", s.SASLPasswordFile)
	return secret.Reveal(), err
}

// CheckFiles reads the files that the settings point to, as a client would, and forgets what they hold. The error joins one
// *settings.Error for each that cannot be used.
func (s Settings) CheckFiles() error {
	_, err := s.tlsConfig()
	errs := []error{err}
	switch {
	case !s.SecurityProtocol.SASL():
	case s.SASLMechanism.usesPassword():
		_, err = s.password()
		errs = append(errs, err)
	case s.SASLMechanism == MechanismOAuthBearer && s.OAuthTokenFile != "":
		_, err = readToken(s.OAuthTokenFile)
		errs = append(errs, err)
	case s.SASLMechanism == MechanismOAuthBearer:
		_, err = secretOrFile(s.OAuthClientSecret, "KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET_FILE", s.OAuthClientSecretFile)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// CredentialsError is a failure to obtain what the client authenticates with: an unreadable file, an endpoint that gives
// no token. The broker was not asked.
type CredentialsError struct {
	Mechanism string
	Err       error
}

func (e *CredentialsError) Error() string {
	return fmt.Sprintf("credentials for SASL %s: %v", e.Mechanism, e.Err)
}

// Unwrap returns the cause.
func (e *CredentialsError) Unwrap() error { return e.Err }

// credentialed marks the errors of fetching credentials, which the client passes on without a word of where they arose.
func credentialed(m sasl.Mechanism) sasl.Mechanism { return mechanism{m} }

type mechanism struct{ sasl.Mechanism }

func (m mechanism) Authenticate(ctx context.Context, host string) (sasl.Session, []byte, error) {
	session, first, err := m.Mechanism.Authenticate(ctx, host)
	if err != nil {
		return nil, nil, &CredentialsError{Mechanism: m.Name(), Err: err}
	}
	return challenged{session, m.Name()}, first, nil
}

// ChallengeError is an authentication that failed on our side of the exchange: the broker answered in a way that the
// mechanism does not accept, for SCRAM also when it does not know the password.
type ChallengeError struct {
	Mechanism string
	Err       error
}

func (e *ChallengeError) Error() string { return fmt.Sprintf("SASL %s: %v", e.Mechanism, e.Err) }

// Unwrap returns the cause.
func (e *ChallengeError) Unwrap() error { return e.Err }

type challenged struct {
	sasl.Session
	name string
}

func (c challenged) Challenge(answer []byte) (bool, []byte, error) {
	done, next, err := c.Session.Challenge(answer)
	if err != nil {
		err = &ChallengeError{Mechanism: c.name, Err: err}
	}
	return done, next, err
}
