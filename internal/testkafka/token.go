package testkafka

import (
	"encoding/base64"
	"fmt"
	"time"
)

// UnsecuredToken is a JSON web token that a broker takes whose OAUTHBEARER is left as it is for tests.
func UnsecuredToken(subject string, expires time.Time) string {
	part := func(json string) string { return base64.RawURLEncoding.EncodeToString([]byte(json)) }
	return part(`{"alg":"none"}`) + "." + part(fmt.Sprintf(`{"sub":%q,"iat":%d,"exp":%d}`, subject, expires.Add(-2*time.Hour).Unix(), expires.Unix())) + "."
}
