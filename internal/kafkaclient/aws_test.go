package kafkaclient

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/sasl/aws"
)

func msk() Settings {
	s := Default()
	s.SecurityProtocol, s.SASLMechanism = ProtocolSASLSSL, MechanismAWSMSKIAM
	return s
}

// awsKey returns the access key and the session token in the first words of an authentication.
func awsKey(t *testing.T, s Settings, home string) (string, error) {
	t.Helper()
	mechanism := credentialed(aws.ManagedStreamingIAM(s.awsCredentials(home)))
	_, first, err := mechanism.Authenticate(t.Context(), "b-1.demo.kafka.eu-central-1.amazonaws.com:9098")
	if err != nil {
		return "", err
	}
	var sent map[string]string
	if err := json.Unmarshal(first, &sent); err != nil {
		t.Fatal(err)
	}
	id, _, _ := strings.Cut(sent["x-amz-credential"], "/")
	return id + " " + sent["x-amz-security-token"], nil
}

func tempFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Each source of AWS credentials gives its keys, in the order of the AWS SDKs, and says why when it cannot.
func TestAWSKeys(t *testing.T) {
	t.Parallel()
	expiration := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	answer := func(id string) string {
		return fmt.Sprintf(`{"Code":"Success","AccessKeyId":%q,"SecretAccessKey":"hunter2","Token":"session","Expiration":%q}`, id, expiration)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /container", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "container-token" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		fmt.Fprint(w, answer("CONTAINER"))
	})
	mux.HandleFunc("PUT /latest/api/token", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "imds-token") })
	mux.HandleFunc("GET /latest/meta-data/iam/security-credentials/{role...}", func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("X-aws-ec2-metadata-token") != "imds-token":
			w.WriteHeader(http.StatusUnauthorized)
		case r.PathValue("role") == "":
			fmt.Fprint(w, "my-role\n")
		case r.PathValue("role") == "my-role":
			fmt.Fprint(w, answer("INSTANCE"))
		}
	})
	mux.HandleFunc("POST /sts/", func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("Action") != "AssumeRoleWithWebIdentity" || r.FormValue("RoleArn") != "arn:role" || r.FormValue("WebIdentityToken") != "jwt" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		fmt.Fprintf(w, `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult><Credentials>
			<AccessKeyId>ROLE</AccessKeyId><SecretAccessKey>hunter2</SecretAccessKey><SessionToken>session</SessionToken><Expiration>%s</Expiration>
			</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`, expiration)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	shared := tempFile(t, "credentials", "# comment\n[default]\naws_access_key_id = SHARED\naws_secret_access_key=hunter2\n\n[ other ]\naws_access_key_id=OTHER\naws_secret_access_key=hunter2\naws_session_token=session\n[sso]\nsso_session=x\n")
	tests := []struct {
		name string
		set  func(*Settings)
		key  string // id and session token
		says []string
	}{
		{"keys in the settings", func(s *Settings) {
			s.AWSAccessKeyID, s.AWSSecretAccessKey, s.AWSSessionToken = "STATIC", NewSecret("hunter2"), NewSecret("session")
			s.AWSProfile, s.AWSSharedCredentialsFile = "other", shared // keys come first
		}, "STATIC session", nil},
		{"shared file", func(s *Settings) { s.AWSSharedCredentialsFile = shared }, "SHARED ", nil},
		{"profile", func(s *Settings) { s.AWSSharedCredentialsFile, s.AWSProfile = shared, "other" }, "OTHER session", nil},
		{"no such profile", func(s *Settings) { s.AWSSharedCredentialsFile, s.AWSProfile = shared, "none" }, "", []string{`AWS_PROFILE="none"`, "no such profile"}},
		{"other kind of profile", func(s *Settings) { s.AWSSharedCredentialsFile, s.AWSProfile = shared, "sso" }, "", []string{"not supported"}},
		{"no such file", func(s *Settings) { s.AWSSharedCredentialsFile = "/no/such/file" }, "", []string{"AWS_SHARED_CREDENTIALS_FILE", "no such file"}},
		{"web identity", func(s *Settings) {
			s.AWSRoleARN, s.AWSWebIdentityTokenFile, s.AWSSTSEndpoint = "arn:role", tempFile(t, "jwt", "jwt"), server.URL+"/sts"
		}, "ROLE session", nil},
		{"web identity refused", func(s *Settings) {
			s.AWSRoleARN, s.AWSWebIdentityTokenFile, s.AWSSTSEndpoint = "arn:role", tempFile(t, "jwt", "hunter2"), server.URL+"/sts"
		}, "", []string{"token service", "400"}},
		{"web identity without region", func(s *Settings) {
			s.AWSRoleARN, s.AWSWebIdentityTokenFile = "arn:role", tempFile(t, "jwt", "jwt")
		}, "", []string{"AWS_REGION", "not a region"}},
		{"token service in the clear", func(s *Settings) {
			s.AWSRoleARN, s.AWSWebIdentityTokenFile, s.AWSSTSEndpoint = "arn:role", tempFile(t, "jwt", "jwt"), "http://sts.example"
		}, "", []string{"AWS_ENDPOINT_URL_STS", "in the clear"}},
		{"container", func(s *Settings) {
			s.AWSContainerURI, s.AWSContainerTokenFile = server.URL+"/container", tempFile(t, "token", "container-token")
		}, "CONTAINER session", nil},
		{"container refuses", func(s *Settings) {
			s.AWSContainerURI, s.AWSContainerToken = server.URL+"/container", NewSecret("hunter2")
		}, "", []string{"container credentials endpoint", "403"}},
		{"container elsewhere in the clear", func(s *Settings) { s.AWSContainerURI = "http://192.0.2.1/x" }, "", []string{"AWS_CONTAINER_CREDENTIALS_FULL_URI", "allowed only"}},
		{"instance", func(s *Settings) { s.AWSMetadataEndpoint = server.URL }, "INSTANCE session", nil},
		{"nothing", func(s *Settings) { s.AWSMetadataDisabled = true }, "", []string{"AWS_EC2_METADATA_DISABLED"}},
		{"no instance", func(s *Settings) { s.AWSMetadataEndpoint = "http://127.0.0.1:1" }, "", []string{"AWS_ACCESS_KEY_ID", "instance metadata service"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := msk()
			tt.set(&s)
			if err := s.Validate(); err != nil {
				t.Fatal(err)
			}
			got, err := awsKey(t, s, t.TempDir())
			if tt.says == nil {
				if err != nil || got != tt.key {
					t.Errorf("got %q, %v; want %q", got, err, tt.key)
				}
				return
			}
			if Classify(err) != ClassCredentials {
				t.Errorf("class %q of %v", Classify(err), err)
			}
			for _, says := range tt.says {
				if !strings.Contains(fmt.Sprint(err), says) {
					t.Errorf("no %q in: %v", says, err)
				}
			}
			if strings.Contains(fmt.Sprint(err), "hunter2") {
				t.Errorf("the error shows a secret: %v", err)
			}
		})
	}
	t.Run("shared file in the home directory", func(t *testing.T) {
		t.Parallel()
		home := t.TempDir()
		if err := os.Mkdir(filepath.Join(home, ".aws"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(home, ".aws", "credentials"), []byte("[default]\naws_access_key_id=HOME\naws_secret_access_key=hunter2\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := awsKey(t, msk(), home); err != nil || got != "HOME " {
			t.Errorf("got %q, %v", got, err)
		}
	})
}
