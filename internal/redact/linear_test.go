package redact_test

import (
	"strings"
	"testing"
	"time"

	"github.com/dashflow/dashstream/internal/redact"
)

// hostile is what a text may consist of to make a scanner look at it again and again.
var hostile = []string{
	"a", "sk-", "sk-ant-", "eyJ", "eyJa.", "password=", "password=(", "token=(", "token=", `token="`, `token=\"`, `password='`, "://", "://a:",
	"://a@", "://a:b/", "://a:1/", "-----BEGIN ", "-----BEGIN PRIVATE KEY", "-----END PRIVATE KEY", "-----END PRIVATE KEY-----AAAA ",
	"PRIVATE KEY-----", "bearer ", "basic ", "basic AAAA", "<password>", "<password ", "<", ">", "<name>password<value>", "--password ", "AKIA",
	"AKIA" + uppers(16) + " ", "password=a,", "a,b=", "{", "[", "(", "((((", `"`, "'", `""`, `"""`, `password="""`, `{"a":`, `"\\`, `\"`, `\`, "a=b;",
	"secret: ", "SG.", "dapi0", "cookie: \"", ":AA", "12345678:AA", "JQQJ99", "-u ", " -u a:", " --user ", "--user=a:", "-u a:b,", "password:password:",
	"password:", "password:\n", "password:\n  a\n", "password: |\n", "\n  password:\n", "password: [", `password: ["`, `password: {'`, "password: {", "password=[a",
	"password=true[", "password: b", "password: b(", "password: (a)", "password (a): ", "api key: ", "API key is ", "password is ", "password for a is ",
	"password is a1", `password is "`, "password %3D", "password%3D", "%3D", "%25", "%2525", "token%3D%22", "%2F", "%3A%2F%2F", "%3A%2F%2Fa%3A", "%3A%2F%2Fa%40",
	"https%3A%2F%2Fu%3Ap%40", "a:b@tcp(", "@(", "@tcp(", "jdbc:oracle:thin:", "identified by '", " -p", "mysql -p", "sshpass -p '", "redis-cli -a ", `-u", "a:b`,
	`"password", `, `("password", "`, `["password", "`, `["password",[`, `["password","a",`, `setPassword("`, `setPassword(`, "name=password ", "name=", "value=",
	"value=name=", `name="password" value=`, `value="`, `name="password" `, "name=\"password\"\n\n", "key: ", "password -> ", "a -> ", "password string = ",
	"password: T = ", "password = \"a\" + ", `password="a"`, `password='a''`, "password '", "PASSWORD 'a' ", "password=\\n", "password: \\n\\n", "password=\\", "machine login password ",
	"LS0tLS1CRUdJTi", "password: ```\n", "password: # ", "password: >", "<![CDATA[", "<password><![CDATA[", "é", "password is é", "**Password:** ", "* ", "password * ",
	"api_key\n=\n", "api_key\n=", "\n=\n", "password\n:\n", "password =\n \"", "password =\n \"\"\"", "&lt;password&gt;", "&lt;password", "&lt;", "&gt;", `\u003cpassword\u003e`, "WIFI:", "WIFI:P:",
	"WIFI:S:a;", `WIFI:P:\`, "?key=", "?key=a1A", "&amp;key=", "curl -uuser:a", " -u'a:", `"password=a `, `"password=`, "mot de passe: ", "contraseña: ", "12345678:APA91b", ":APA91b",
}

// A long text takes as long as its parts one by one: a scanner that is quadratic anywhere takes sixteen times as long. Both
// are the same work, so that what else the machine does counts for both.
func TestTimeIsLinear(t *testing.T) { // not beside others, which take time from it
	r := redact.New(redact.Options{Names: []string{"ssn"}})
	const size, parts, bound, tries = 1 << 12, 16, 5, 6
	took := func(text string, times int) time.Duration {
		start := time.Now()
		for range times {
			r.Text(text)
		}
		return time.Since(start)
	}
	check := func(unit, text string) {
		t.Helper()
		long := text + strings.Repeat(text, parts-1)
		ratio := 0.0
		for range tries { // one that was not disturbed is enough
			if ratio = float64(took(long, 1)) / float64(took(text, parts)); ratio < bound {
				return
			}
		}
		t.Errorf("a text of %q takes %.0f times as long as its parts", unit, ratio)
	}
	for i, unit := range hostile {
		check(unit, strings.Repeat(unit, size/len(unit)))
		check(`"`+unit, `"`+strings.Repeat(unit, size/len(unit)))
		unit += hostile[(i*7+3)%len(hostile)]
		check(unit, strings.Repeat(unit, size/len(unit)))
	}
}
