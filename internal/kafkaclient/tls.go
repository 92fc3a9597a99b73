package kafkaclient

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/youmark/pkcs8"

	"github.com/dashflow/dashstream/internal/settings"
)

// maxSecretFile bounds what is read from a file that a setting names: a wrong path may name something endless.
const maxSecretFile = 1 << 20

// tlsConfig is nil when the protocol does not encrypt. The server name is added for each connection.
func (s Settings) tlsConfig() (*tls.Config, error) {
	if !s.SecurityProtocol.TLS() {
		return nil, nil //nolint:nilnil // no TLS is an answer, not a failure.
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if s.SSLCALocation != "" {
		roots, err := loadRoots(s.SSLCALocation)
		if err != nil {
			return nil, err
		}
		config.RootCAs = roots
	}
	if s.SSLCertificateLocation != "" {
		cert, err := s.loadCertificate()
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{cert}
	}
	if s.SSLEndpointAlgorithm == EndpointNone {
		roots := config.RootCAs
		// Only the host name goes unchecked: the chain is verified below, as the library would have done.
		config.InsecureSkipVerify = true
		config.VerifyConnection = func(state tls.ConnectionState) error { return verifyChain(state, roots) }
	}
	return config, nil
}

func verifyChain(state tls.ConnectionState, roots *x509.CertPool) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("the broker sent no certificate")
	}
	intermediates := x509.NewCertPool()
	for _, cert := range state.PeerCertificates[1:] {
		intermediates.AddCert(cert)
	}
	_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{
		Roots:         roots,
		Intermediates: intermediates,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return &tls.CertificateVerificationError{UnverifiedCertificates: state.PeerCertificates, Err: err}
	}
	return nil
}

func loadRoots(path string) (*x509.CertPool, error) {
	const name = "KAFKA_SSL_CA_LOCATION"
	text, err := readFile(name, path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	found := false
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, &settings.Error{Name: name, Value: path, Reason: fmt.Sprintf("a certificate in it cannot be read: %v", err)}
		}
		pool.AddCert(cert)
		found = true
	}
	if !found {
		return nil, &settings.Error{Name: name, Value: path, Reason: "has no certificate in PEM form (-----BEGIN CERTIFICATE-----)"}
	}
	return pool, nil
}

func (s Settings) loadCertificate() (tls.Certificate, error) {
	var cert tls.Certificate
	certPEM, err := readFile("KAFKA_SSL_CERTIFICATE_LOCATION", s.SSLCertificateLocation)
	if err != nil {
		return cert, err
	}
	keyPEM, err := readFile("KAFKA_SSL_KEY_LOCATION", s.SSLKeyLocation)
	if err != nil {
		return cert, err
	}
	password, err := secretOrFile(s.SSLKeyPassword, "KAFKA_SSL_KEY_PASSWORD_FILE", s.SSLKeyPasswordFile)
	if err != nil {
		return cert, err
	}
	keyPEM, err = decryptKey(keyPEM, password)
	if err != nil {
		return cert, &settings.Error{Name: "KAFKA_SSL_KEY_LOCATION", Value: s.SSLKeyLocation, Reason: err.Error()}
	}
	cert, err = tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return cert, &settings.Error{
			Name: "KAFKA_SSL_CERTIFICATE_LOCATION", Value: s.SSLCertificateLocation,
			Reason: fmt.Sprintf("cannot be used with KAFKA_SSL_KEY_LOCATION=%q: %v", s.SSLKeyLocation, err),
		}
	}
	return cert, nil
}

// decryptKey returns the key file with a plain key. A file without an encrypted key is returned as it is.
func decryptKey(keyPEM []byte, password Secret) ([]byte, error) {
	var block *pem.Block
	for rest := keyPEM; ; {
		if block, rest = pem.Decode(rest); block == nil {
			return keyPEM, nil
		}
		if strings.HasSuffix(block.Type, "PRIVATE KEY") {
			break
		}
	}
	if block.Headers["DEK-Info"] != "" {
		return nil, errors.New("is encrypted in the old PEM way, which is not safe; convert it: openssl pkcs8 -topk8 -v2 aes256 -in OLD -out NEW")
	}
	if block.Type != "ENCRYPTED PRIVATE KEY" {
		return keyPEM, nil
	}
	if !password.IsSet() {
		return nil, errors.New("is encrypted; set KAFKA_SSL_KEY_PASSWORD or KAFKA_SSL_KEY_PASSWORD_FILE")
	}
	key, err := pkcs8.ParsePKCS8PrivateKey(block.Bytes, []byte(password.Reveal()))
	if err != nil {
		return nil, fmt.Errorf("cannot be decrypted, the password may be wrong: %w", err)
	}
	if _, ok := key.(crypto.Signer); !ok {
		return nil, fmt.Errorf("holds a key of type %T that cannot sign", key)
	}
	plain, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("holds a key that TLS cannot use: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: plain}), nil
}

// readFile reads the whole of a small file that the setting name points to.
func readFile(name, path string) ([]byte, error) {
	unreadable := func(err error) error {
		reason := err
		if inner, ok := errors.AsType[*fs.PathError](err); ok {
			reason = inner.Err // the path is told as the value
		}
		return &settings.Error{Name: name, Value: path, Reason: "cannot be read: " + reason.Error(), Err: err}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, unreadable(err)
	}
	defer f.Close() //nolint:errcheck // nothing was written
	text, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	if err != nil {
		return nil, unreadable(err)
	}
	if len(text) > maxSecretFile {
		return nil, &settings.Error{Name: name, Value: path, Reason: "larger than 1 MiB"}
	}
	return text, nil
}

// secretOrFile returns the value, or what the file holds without its last line break.
func secretOrFile(value Secret, name, path string) (Secret, error) {
	if path == "" {
		return value, nil
	}
	text, err := readFile(name, path)
	if err != nil {
		return Secret{}, err
	}
	secret := NewSecret(strings.TrimRight(string(text), "\r\n"))
	if !secret.IsSet() {
		return Secret{}, &settings.Error{Name: name, Value: path, Reason: "is empty"}
	}
	return secret, nil
}
