package kafkaclient

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/sasl/aws"
)

// The sources of AWS credentials are asked in the order of the AWS SDKs: keys in the settings, web identity, the shared
// credentials file, the container endpoint, the instance metadata service. They are plain HTTP and a plain file, which is
// all that AWS_MSK_IAM needs; the SDK would be by far the largest dependency of the program. Not supported: SSO, a
// role_arn or a credential_process in a profile.

const (
	awsMetadataEndpoint  = "http://169.254.169.254"
	awsContainerHost     = "http://169.254.170.2"
	awsMetadataTokenLife = "21600" // seconds, the longest allowed
	awsRoleSession       = "dashstream"
)

// awsCredentials returns the function that gives the keys for one authentication. home is the directory of the default
// shared credentials file; empty is none.
func (s Settings) awsCredentials(home string) func(context.Context) (aws.Auth, error) {
	src := &awsSource{s: s, home: home, client: &http.Client{Timeout: credentialsTimeout}}
	switch {
	case s.AWSAccessKeyID != "":
		auth := aws.Auth{AccessKey: s.AWSAccessKeyID, SecretKey: s.AWSSecretAccessKey.Reveal(), SessionToken: s.AWSSessionToken.Reveal()}
		return func(context.Context) (aws.Auth, error) { return auth, nil }
	case s.AWSRoleARN != "":
		return newCache(src.webIdentity).get
	case s.AWSProfile != "" || s.AWSSharedCredentialsFile != "":
		return func(context.Context) (aws.Auth, error) { return src.sharedFile() }
	}
	endpoint := newCache(src.endpoint)
	return func(ctx context.Context) (aws.Auth, error) {
		auth, err := src.sharedFile()
		if !errors.Is(err, errNoProfile) {
			return auth, err
		}
		return endpoint.get(ctx)
	}
}

type awsSource struct {
	s      Settings
	home   string
	client *http.Client
}

// endpoint asks the container's endpoint, or the instance metadata service.
func (a *awsSource) endpoint(ctx context.Context) (fetched[aws.Auth], error) {
	switch {
	case a.s.AWSContainerRelativeURI != "":
		return a.container(ctx, awsContainerHost+a.s.AWSContainerRelativeURI)
	case a.s.AWSContainerURI != "":
		if err := checkContainerURI(a.s.AWSContainerURI); err != nil {
			return fetched[aws.Auth]{}, fmt.Errorf("AWS_CONTAINER_CREDENTIALS_FULL_URI=%q: %w", withoutUser(a.s.AWSContainerURI), err)
		}
		return a.container(ctx, a.s.AWSContainerURI)
	case bool(a.s.AWSMetadataDisabled):
		return fetched[aws.Auth]{}, errors.New("no source of AWS credentials is set, and AWS_EC2_METADATA_DISABLED is true")
	}
	got, err := a.instanceMetadata(ctx)
	if err != nil {
		err = fmt.Errorf("no AWS credentials in AWS_ACCESS_KEY_ID, AWS_ROLE_ARN, the shared credentials file or a container endpoint, and not from the instance metadata service: %w", err)
	}
	return got, err
}

// checkContainerURI allows the hosts that the SDKs allow: anything over TLS, else this machine and the link-local
// addresses of ECS and EKS. The authorization token must not go elsewhere in the clear.
func checkContainerURI(raw string) error {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return errors.New("not a URL with a host")
	}
	ip := net.ParseIP(u.Hostname())
	switch {
	case u.Scheme == "https", u.Hostname() == "localhost":
		return nil
	case ip != nil && (ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.Equal(net.ParseIP("fd00:ec2::23"))):
		return nil
	}
	return errors.New("http is allowed only for this machine and the container endpoints of ECS and EKS")
}

func (a *awsSource) container(ctx context.Context, uri string) (fetched[aws.Auth], error) {
	header := http.Header{}
	token, err := secretOrFile(a.s.AWSContainerToken, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", a.s.AWSContainerTokenFile)
	if err != nil {
		return fetched[aws.Auth]{}, err
	}
	if token.IsSet() {
		header.Set("Authorization", token.Reveal())
	}
	return a.keys(ctx, "container credentials endpoint", uri, header)
}

func (a *awsSource) instanceMetadata(ctx context.Context) (fetched[aws.Auth], error) {
	base := strings.TrimRight(firstNonEmpty(a.s.AWSMetadataEndpoint, awsMetadataEndpoint), "/")
	const what = "instance metadata service"
	token, err := a.ask(ctx, what, http.MethodPut, base+"/latest/api/token", http.Header{"X-Aws-Ec2-Metadata-Token-Ttl-Seconds": {awsMetadataTokenLife}}, nil)
	if err != nil {
		return fetched[aws.Auth]{}, err
	}
	header := http.Header{"X-Aws-Ec2-Metadata-Token": {strings.TrimSpace(string(token))}}
	const path = "/latest/meta-data/iam/security-credentials/"
	roles, err := a.ask(ctx, what, http.MethodGet, base+path, header, nil)
	if err != nil {
		return fetched[aws.Auth]{}, err
	}
	role, _, _ := strings.Cut(strings.TrimSpace(string(roles)), "\n")
	if role == "" {
		return fetched[aws.Auth]{}, fmt.Errorf("%s: the instance has no role", what)
	}
	return a.keys(ctx, what, base+path+url.PathEscape(role), header)
}

// keys reads the answer that the container endpoint and the metadata service share.
func (a *awsSource) keys(ctx context.Context, what, uri string, header http.Header) (fetched[aws.Auth], error) {
	var none fetched[aws.Auth]
	body, err := a.ask(ctx, what, http.MethodGet, uri, header, nil)
	if err != nil {
		return none, err
	}
	var answer struct {
		AccessKeyID     string `json:"AccessKeyId"`
		SecretAccessKey string
		Token           string
		Expiration      time.Time
	}
	// The error would quote the body, which holds the keys.
	if json.Unmarshal(body, &answer) != nil || answer.AccessKeyID == "" || answer.SecretAccessKey == "" {
		return none, fmt.Errorf("%s: the answer has no keys", what)
	}
	return fetched[aws.Auth]{
		aws.Auth{AccessKey: answer.AccessKeyID, SecretKey: answer.SecretAccessKey, SessionToken: answer.Token}, answer.Expiration,
	}, nil
}

// webIdentity exchanges the token of a Kubernetes service account for the keys of a role.
func (a *awsSource) webIdentity(ctx context.Context) (fetched[aws.Auth], error) {
	var none fetched[aws.Auth]
	token, err := secretOrFile(Secret{}, "AWS_WEB_IDENTITY_TOKEN_FILE", a.s.AWSWebIdentityTokenFile)
	if err != nil {
		return none, err
	}
	endpoint := a.s.AWSSTSEndpoint
	if endpoint == "" {
		region, err := a.region()
		if err != nil {
			return none, err
		}
		endpoint = "https://sts." + region + ".amazonaws.com"
		if strings.HasPrefix(region, "cn-") {
			endpoint += ".cn"
		}
	}
	if err := checkEndpoint(endpoint); err != nil {
		return none, fmt.Errorf("AWS_ENDPOINT_URL_STS=%q: %w", withoutUser(endpoint), err)
	}
	form := url.Values{
		"Action":           {"AssumeRoleWithWebIdentity"},
		"Version":          {"2011-06-15"},
		"RoleArn":          {a.s.AWSRoleARN},
		"RoleSessionName":  {awsRoleSession},
		"WebIdentityToken": {token.Reveal()},
	}
	const what = "AWS token service"
	body, err := a.ask(ctx, what, http.MethodPost, strings.TrimRight(endpoint, "/")+"/",
		http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, strings.NewReader(form.Encode()))
	if err != nil {
		return none, err
	}
	var answer struct {
		Keys struct {
			AccessKeyID     string `xml:"AccessKeyId"`
			SecretAccessKey string
			SessionToken    string
			Expiration      time.Time
		} `xml:"AssumeRoleWithWebIdentityResult>Credentials"`
	}
	if xml.Unmarshal(body, &answer) != nil || answer.Keys.AccessKeyID == "" || answer.Keys.SecretAccessKey == "" {
		return none, fmt.Errorf("%s: the answer has no keys", what)
	}
	return fetched[aws.Auth]{
		aws.Auth{AccessKey: answer.Keys.AccessKeyID, SecretKey: answer.Keys.SecretAccessKey, SessionToken: answer.Keys.SessionToken},
		answer.Keys.Expiration,
	}, nil
}

var awsRegion = regexp.MustCompile(`^[a-z]{2,4}(-[a-z]+)+-[0-9]+$`)

func (a *awsSource) region() (string, error) {
	region := firstNonEmpty(a.s.AWSRegion, a.s.AWSDefaultRegion)
	if region == "" {
		host, _, _ := net.SplitHostPort(a.s.Brokers[0])
		for label := range strings.SplitSeq(host, ".") {
			if awsRegion.MatchString(label) {
				region = label
			}
		}
	}
	if !awsRegion.MatchString(region) {
		return "", fmt.Errorf("AWS_REGION=%q: not a region such as eu-central-1", region)
	}
	return region, nil
}

// ask does one bounded request. Its errors hold no body and no query.
func (a *awsSource) ask(ctx context.Context, what, method, uri string, header http.Header, body io.Reader) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, uri, body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	maps.Copy(request.Header, header)
	response, err := a.client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxCredentialsBody))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: status %s", what, response.Status)
	}
	return text, nil
}

// errNoProfile means that there is no shared file, or not the default profile in it, and none was asked for.
var errNoProfile = errors.New("no shared credentials")

// sharedFile reads the keys of the profile; the file is read each time, because tools rotate the keys in it.
func (a *awsSource) sharedFile() (aws.Auth, error) {
	path, profile := a.s.AWSSharedCredentialsFile, firstNonEmpty(a.s.AWSProfile, "default")
	asked := a.s.AWSProfile != "" || path != ""
	if path == "" {
		if a.home == "" {
			return aws.Auth{}, errNoProfile
		}
		path = filepath.Join(a.home, ".aws", "credentials")
	}
	text, err := readFile("AWS_SHARED_CREDENTIALS_FILE", path)
	if err != nil {
		if !asked && errors.Is(err, os.ErrNotExist) {
			return aws.Auth{}, errNoProfile
		}
		return aws.Auth{}, err
	}
	keys, found := profileKeys(string(text), profile)
	if !found {
		if !asked {
			return aws.Auth{}, errNoProfile
		}
		return aws.Auth{}, fmt.Errorf("AWS_PROFILE=%q: no such profile in %s", profile, path)
	}
	auth := aws.Auth{
		AccessKey: keys["aws_access_key_id"], SecretKey: keys["aws_secret_access_key"], SessionToken: keys["aws_session_token"],
	}
	if auth.AccessKey == "" || auth.SecretKey == "" {
		return aws.Auth{}, fmt.Errorf("AWS_PROFILE=%q: profile in %s has no aws_access_key_id and aws_secret_access_key; other kinds of profile are not supported", profile, path)
	}
	return auth, nil
}

// profileKeys reads one section of an INI file.
func profileKeys(text, profile string) (keys map[string]string, found bool) {
	keys = map[string]string{}
	inside := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#' || line[0] == ';':
		case line[0] == '[' && line[len(line)-1] == ']':
			inside = strings.TrimSpace(line[1:len(line)-1]) == profile
			found = found || inside
		case inside:
			if key, value, ok := strings.Cut(line, "="); ok {
				keys[strings.ToLower(strings.TrimSpace(key))] = strings.TrimSpace(value)
			}
		}
	}
	return keys, found
}

func firstNonEmpty(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
