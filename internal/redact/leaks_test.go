package redact_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/dashflow/dashstream/internal/redact"
)

// A password that is a plain word: only its place says what it is.
const word = "swordfish"

// leaks are texts in which word, or mixed in prose, is a secret.
var leaks = map[string][]string{
	"printed values": {
		`{'password': b'swordfish'}`, `{'password': u'swordfish', 'a': 1}`, `password=f"swordfish"`, `password=rb'swordfish'`,
		`Settings(password=SecretStr('swordfish'))`, `password=outer(inner('swordfish'))`, `password: (string)"swordfish"`,
		`Password:[]byte("swordfish")`, `http.Header{"Authorization":[]string{"swordfish"}}`, `{"password": ["swordfish`,
		`{"password": ["a", "swordfish"], "b"`, `{'credentials': {'user': 'bob', 'x': 'swordfish'}, 'n'`, `{"password": {"old": "swordfish`,
		`password='''swordfish'''`, `password = """swordfish"""`, `password: str = "swordfish"`, `var password string = "swordfish"`,
		`const apiKey: Secret = "swordfish"`, `password := "swordfish"`, `password ||= 'swordfish'`, `["password"]=> string(9) "swordfish"`,
		`[password] => swordfish`, `Config { password: Some("swordfish") }`, `password = "a" + "swordfish"`, `map[passwords:[a swordfish] n:1]`,
		`{Password:swordfish User:bob}`, `password = @"swordfish"`, `PASSWORD=$'swordfish'`, `password=\swordfish`, `password=ab\swordfish`,
		`{\"password\": b'swordfish'}`, `password: &"swordfish"`, `password = new String("swordfish")`, `setPassword("swordfish")`,
		`password("swordfish")`, `password=a(b(c(d('swordfish'))))`, `{"password":"a""swordfish"}x`, `password = 'a''swordfish'`,
	},
	"names": {
		`db_password_prod=swordfish`, `passwordField: swordfish`, `apiKeyOpenAI="swordfish"`, `client_secret_key_v2: 'swordfish'`,
		`{"db_password_prod":"swordfish"}`, `{"passwordField":"swordfish"}`, `{"apiKeyOpenAI":"swordfish"}`, `{"client_secret_key_v2":"swordfish"}`,
		`DB_PASS=swordfish`, `SMTP_PASS: swordfish`, `SECRET_KEY_PROD=swordfish`, `{"secretsProd":{"a":"swordfish"}}`, `PASSWORD_1=swordfish`,
		`{"API key (OpenAI)":"swordfish"}`, `{"openaiKeyProd":"swordfish"}`, `OPENAI_KEY_STAGING=swordfish`, `{"authorizationHeader":"swordfish"}`,
		`{"GITHUB_PAT":"swordfish"}`, `passwords=swordfish`, `user.password.plain=swordfish`, `{"APIKeyV2":"swordfish"}`, `{"dbPasswd2":"swordfish"}`,
	},
	"tags and escapes": {
		`password: !!str swordfish`, `password: &anchor swordfish`, `password: !vault swordfish`, `<param name="password">swordfish</param>`, `<env name="API_KEY">swordfish</env>`,
		`&quot;password&quot;:&quot;swordfish&quot;`, `password&quot;:&quot;swordfish`, `\u0022password\u0022:\u0022swordfish\u0022`, `password=&#39;swordfish&#39;`, `x"password\x22: \x22swordfish\x22`,
		`password=<swordfish>`, `password=<Secret 'swordfish'>`, `password=('sword' 'swordfish')`, "password = (\"a\"\n    \"swordfish\")", `password = L"swordfish"`,
		`let password: &str = "swordfish";`, `password: Option<String> = Some("swordfish")`, `char password[] = "swordfish";`, `Password: (string) (len=9) "swordfish",`,
	},
	"escaped tags": {
		`&lt;password&gt;swordfish&lt;/password&gt;`, `&lt;a&gt;&lt;ns:password enc="x"&gt; swordfish &lt;/ns:password&gt;&lt;/a&gt;`, `x \u003cpassword\u003eswordfish\u003c/password\u003e`,
		`\u003Capi_key\u003Eswordfish`, `&lt;password&gt;swordfish`, `&lt;token&gt;swordfish2024&lt;/token&gt;`, `&lt;input name=&quot;password&quot; value=&quot;swordfish&quot;&gt;`,
	},
	"other languages": {
		"mot de passe: swordfish", "Mot de passe : swordfish", "mot de passe\u00a0: swordfish", "contraseña: swordfish", "CONTRASEÑA = swordfish", "contrasen\u0303a: swordfish",
		"Passwort: swordfish", "Kennwort = swordfish", "senha: swordfish", "**Mot de passe** : `swordfish`", `{'mot de passe': 'swordfish'}`, "Tu contraseña: swordfish",
	},
	"separators on lines of their own": {
		"api_key\n=\nswordfish\n", "api_key\n=\nhunter2x end", "api_key\r\n=\r\nswordfish\r\nx", "password\n= swordfish", "password\n:\nswordfish\n", "password =\n    \"swordfish\"", "const password =\n  'swordfish';",
	},
	"spaces in quotes": {
		`say "password=correct swordfish"`, `docker run -e "DB_PASSWORD=correct horse swordfish" x`, `'api_key=a swordfish' --x`, `{\"env\": [\"PASSWORD=a swordfish\"]}`,
	},
	"keys in URLs": {
		"https://x/?key=xYzZyPlUgH7391qWbN5kR8swordfish&a=b", "https://x/?a=b&key=0a1b2c3d4e0a1b2c3d4e0swordfish", "https://x/?a=b&amp;key=xYzZyPlUgH7391swordfish",
	},
	"codes for networks": {
		`WIFI:T:WPA;S:n;P:swordfish;;`, `WIFI:S:my net;T:WPA;P:a\;swordfish;H:true;;`, `WIFI:P:swordfish;S:n;;`, `WIFI:T:WPA;S:n;P:swordfish`, `WIFI:T:WPA;S:n;P:a b swordfish;;`,
	},
	"name, then value": {
		`#define PASSWORD "swordfish"`, `(setq password "swordfish")`, `{:password "swordfish"}`, `invalid password "swordfish" for user`, `Error: invalid api key 'swordfish'`, `password -> swordfish`,
		`tool -password swordfish`, `tool -api-key=swordfish`, `AWS Secret Access Key [None]: swordfish`, `my api key is 'swordfish'`, `The password is: "swordfish"`, `secret key: swordfish`, `password for bob: "swordfish"`, `bob:swordfish@/db`,
	},
	"subscripts": {
		`env["API_KEY"]="swordfish"`, `os.environ['API_KEY'] = 'swordfish'`, `config.password = "swordfish"`, `process.env.API_KEY='swordfish'`,
		`user[password]=swordfish&x=1`, `env[\"API_KEY\"] = \"swordfish\"`, `self.config['db']['password'] = b'swordfish'`, `$_ENV['DB_PASSWORD'] = "swordfish";`,
		`this.password += 'swordfish'`, `ENV.fetch("API_KEY", "swordfish")`, `os.Setenv("API_KEY", "swordfish")`, `headers.set('X-Api-Key', 'swordfish')`,
	},
	"name and value apart": {
		`{"name":"password","value":"swordfish"}`, `{"value":"swordfish","name":"password"}`, `{"key":"API_KEY","val":"swordfish"}`,
		`{"header":"Authorization","value":"swordfish"}`,
		`[{"value":"swordfish","field":"db_password_prod"}]`,
		`{"variable":"DB_PASSWORD","newValue":"swordfish"}`,
		`{'name': 'password', 'value': 'swordfish'}`, `{'value': 'swordfish', 'name': 'password'}`, `EnvVar{Name:"DB_PASSWORD", Value:"swordfish"}`,
		"- name: DB_PASSWORD\n  value: swordfish\n- name: X\n  value: y", "- value: swordfish\n  name: DB_PASSWORD\n", `{Name:DB_PASSWORD Value:swordfish}`,
		`x {"value":"swordfish","key":"api_key"`, `<name>password</name><value>swordfish</value>`, `<key>password</key><string>swordfish</string>`,
		"Content-Disposition: form-data; name=\"password\"\r\n\r\nswordfish\r\n--x", "<property>\n <name>fs.s3a.secret.key</name>\n <value>swordfish</value>\n</property>",
	},
	"pairs": {
		`["Authorization","swordfish"]`, `[["api-key","swordfish"]]`, `('X-Api-Key', 'swordfish')`, `[("X-Api-Key", "swordfish"), ("a", "b")]`,
		`[["Host","x"],["Cookie","swordfish"]]`, `(b'authorization', b'swordfish')`,
		`{"headers":[["Authorization",["swordfish"]]]}`, `["mysql","--password","swordfish","--user","bob"]`, `['mysql', '--password', 'swordfish']`,
		`["curl","-u","bob:swordfish","http://x"]`, `['curl', '-u', 'bob:swordfish']`, `{"a":[["password",["b","swordfish"]]]}`, `[\"X-Api-Key\", \"swordfish\"]`,
		`x [["api-key", "swordfish`,
	},
	"next line": {
		"password:\n  swordfish\nuser: bob", "Password:\nswordfish", "password:\r\n  swordfish", "Password:\n\nswordfish\n", "password: |\n  a\n  swordfish\nx: y",
		"secrets:\n  db: swordfish\n  api: x\nother: y", "a:\n  password: >-\n    swordfish\n  b: c", "passwords:\n- a\n- swordfish\nx: y",
		"{\"password\":\n  \"swordfish\",", "Password:\n```\nswordfish\n```", "**Password:**\nswordfish\n", `"password:\n  swordfish"`,
		"- password:\n    swordfish\n- a: b", "password: # do not share\n  swordfish\n",
	},
	"prose": {
		"API key: swordfish", "Access key: swordfish.", "My private key = swordfish", "**Password:** swordfish", "- **API Key**: `swordfish`",
		"`password`: `swordfish`", "Password (admin): swordfish", `the password is "swordfish"`, `password is 'swordfish'.`, "*Password*: swordfish", "Username/password: bob/swordfish",
	},
	"prose that is no word": {
		"api key is hunter2x", "The password is hunter2x.", "password was hunter2x and more", "I set the password to hunter2x", "The password for the database is hunter2x.",
		"the password of bob: hunter2x", "My password is: hunter2x", "the API key of our account is hunter2x, ok", "Password für den Server: hunter2x",
	},
	"encoded": {
		"https%3A%2F%2Fuser%3Aswordfish%40host", "?access%5Ftoken=swordfish2024", "token%3Dswordfish2024&x", "password%3Dswordfish%26x%3D1", "password%3A%20swordfish",
		"https%253A%252F%252Fuser%253Aswordfish%2540host", "https://user:pa/swordfish@host", "https://user:swordfish/x?y@host/z", "user:swordfish@tcp(host:3306)/db",
		"bob:p@ss:swordfish@unix(/tmp/x)/db", "https://user%3Aswordfish%40host/x", "%7B%22password%22%3A%22swordfish%22%7D", "user%5Bpassword%5D=swordfish",
		"a%5Bb%5D=1&api%2Dkey=swordfish", "password%253Dswordfish", "https://user:p#swordfish@host", "Bearer%20swordfish2024swordfish",
	},
	"XML": {
		`<db password="swordfish"/>`, `<password>swordfish</password>`, `<add key="ApiKey" value="swordfish"/>`, `<add value="swordfish" key="ApiKey"/>`,
		`<ns:password>swordfish</ns:password>`, `<password enc="x">swordfish</password>`, `<password><![CDATA[swordfish]]></password>`, `<password>swordfish`,
		`<input type="text" name="password" value="swordfish">`, "<password>\n  swordfish\n</password>", `<property name="db.password" value='swordfish' />`, `<x:secret a='b' c="d">swordfish</x:secret>`,
	},
	"shell": {
		`curl -u bob:swordfish https://x`, `curl --user=bob:swordfish https://x`, `curl -u 'bob:sword swordfish' x`, `curl -u bob@example.com:swordfish x`,
		`curl -ubob:swordfish https://x`, `curl -sS -u"bob:sword swordfish" x`, `curl --proxy-user bob:swordfish x`, `curl -H 'X-Api-Key: swordfish' x`, `curl --header='X-Api-Key: swordfish'`, `tool --password swordfish`, `tool --password=swordfish`,
		`tool --db-password-prod 'swordfish'`, `tool --api-key "swordfish"`, `mysql -u root -pswordfish db`, `sshpass -p swordfish ssh x`, `sshpass -pswordfish ssh x`,
		`docker login -u bob -p swordfish ghcr.io`, `redis-cli -h x -a swordfish ping`, "export A=1\nexport DB_PASSWORD=swordfish\n", `declare -x DB_PASSWORD="swordfish"`,
		"kubectl create secret generic x --from-literal=password=swordfish", "ALTER USER bob WITH PASSWORD 'swordfish'", "CREATE USER bob IDENTIFIED BY 'swordfish'",
		"machine x login bob password swordfish", "curl --cookie 'a=swordfish' x", "curl -H \"Cookie: a=b; c=swordfish\" x",
	},
	"connection strings": {
		`Server=x;User Id=sa;Password=swordfish;`, `Driver={x};Pwd=swordfish;Server=y`, `host=x user=y password=swordfish sslmode=z`, `Password='sword;swordfish';A=b`, `jdbc:mysql://h/db?user=a&password=swordfish`,
		`jdbc:oracle:thin:bob/swordfish@host:1521/x`, `Endpoint=sb://x/;SharedAccessKeyName=n;SharedAccessKey=swordfish=`, `Password={swordfish};A=b`,
	},
}

func TestLeaks(t *testing.T) {
	t.Parallel()
	r := redact.New(redact.Options{})
	for kind, texts := range leaks {
		for _, in := range texts {
			for _, in := range []string{in, "See this:\n" + in, in + "\nmore text"} {
				got := r.Text(in)
				if strings.Contains(got, word) || strings.Contains(got, "hunter2x") || !strings.Contains(got, redact.Mask) {
					t.Errorf("%s: %q became\n%q", kind, in, got)
				}
				if b := string(r.Bytes([]byte(in))); strings.Contains(b, word) || strings.Contains(b, "hunter2x") {
					t.Errorf("%s: the bytes %q became\n%q", kind, in, b)
				}
				if again := r.Text(got); again != got {
					t.Errorf("%s: %q became\n%q, then\n%q", kind, in, got, again)
				}
			}
		}
	}
}

// What JSON says by its structure, so that only a document that is valid says it.
func TestLeaksOfJSON(t *testing.T) {
	t.Parallel()
	r := redact.New(redact.Options{})
	for in, want := range map[string]string{
		`{"rawHeaders":["Host","x","Authorization","swordfish","Accept","y"]}`:            `{"rawHeaders":["Host","x","Authorization","[REDACTED]","Accept","y"]}`,
		`{"val":"swordfish","a":[{"b":1}],"key":"API_KEY"}`:                               `{"val":"[REDACTED]","a":[{"b":1}],"key":"API_KEY"}`,
		`{"Value":["a","swordfish",12,true,""],"Name":"password"}`:                        `{"Value":["[REDACTED]","[REDACTED]","[REDACTED]",true,""],"Name":"password"}`,
		`{"value":{"a":{"b":"swordfish"}},"name":"client_secret"}`:                        `{"value":{"a":{"b":"[REDACTED]"}},"name":"client_secret"}`,
		`{"x":{"value":{"value":"swordfish","name":"n"},"key":"password"}}`:               `{"x":{"value":{"value":"[REDACTED]","name":"[REDACTED]"},"key":"password"}}`,
		`{"value":"swordfish","name":"token"}`:                                            `{"value":"swordfish","name":"token"}`,
		`{"value":"swordfish2024","name":"token"}`:                                        `{"value":"[REDACTED]","name":"token"}`,
		`{"value":{"value":"swordfish","name":"password"},"name":"color"}`:                `{"value":{"value":"[REDACTED]","name":"password"},"name":"color"}`,
		`{"value":[{"value":"swordfish","name":"password"},{"value":"a","name":"b"}]}`:    `{"value":[{"value":"[REDACTED]","name":"password"},{"value":"a","name":"b"}]}`,
		`{"a":["password",12],"b":["password","swordfish"],"c":["password","a","b"]}`:     `{"a":["password","[REDACTED]"],"b":["password","[REDACTED]"],"c":["password","a","b"]}`,
		`["curl","-u","bob:swordfish","--api-key","swordfish","--user","bob","-u","1:2"]`: `["curl","-u","bob:[REDACTED]","--api-key","[REDACTED]","--user","bob","-u","1:2"]`,
	} {
		if got := r.Text(in); got != want {
			t.Errorf("%s became\n%s, want\n%s", in, got, want)
		}
		if got := r.Text(want); got != want {
			t.Errorf("%s became\n%s the second time", want, got)
		}
	}
}

func TestKeysThatWereCutOrEncoded(t *testing.T) {
	t.Parallel()
	r := redact.New(redact.Options{})
	key := pem("RSA PRIVATE KEY", "\n")
	escaped := pem("PRIVATE KEY", `\n`)
	for name, in := range map[string]string{
		"end cut off":               key[:len(key)/2],
		"beginning cut off":         key[len(key)/2:],
		"within the first marker":   key[15:],
		"both ends, in the markers": key[15 : len(key)-20],
		"escaped, end cut off":      `"` + escaped[:len(escaped)/2],
		"escaped, beginning":        escaped[len(escaped)/2:] + `", "a": 1`,
		"base64 of the whole":       base64.StdEncoding.EncodeToString([]byte(key)),
		"a kubeconfig":              "client-key-data: " + base64.StdEncoding.EncodeToString([]byte(key)),
	} {
		got := r.Text("See " + in + " end")
		if strings.Contains(got, letters(30)) || strings.Contains(got, base64.StdEncoding.EncodeToString([]byte(key))[60:100]) {
			t.Errorf("%s: %q became\n%q", name, in, got)
		}
	}
	if cert := base64.StdEncoding.EncodeToString([]byte("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----")); r.Text(cert) != cert {
		t.Errorf("a certificate became %q", r.Text(cert))
	}
	docker := `{"auths":{"x":{"auth":"` + base64.StdEncoding.EncodeToString([]byte("b:pw")) + `"}}}`
	if got, want := r.Text(docker), `{"auths":{"x":{"auth":"[REDACTED]"}}}`; got != want {
		t.Errorf("%s became %s", docker, got)
	}
}

// readable is what stays so beside the names of secrets: counts, ids, flags, kinds, places, and prose.
var readable = []string{
	"max_tokens: 4096", "token_count=812", "tokens: 812", "completion_tokens: 12, total_tokens: 30", `{"token_count":812,"max_tokens":4096,"completion_tokens":"12"}`,
	"passwordless login", "the password was reset", "The password was changed yesterday.", "author: Jane", "author=Jane", "keyboard: qwerty", "monkey: banana", "primary_key: user_id",
	"The authorization flow: first the client asks", "authorization flow of OAuth2: see RFC 6749", "password_length: 12", "password_length=twelve", `{"password_policy":"at least twelve characters"}`,
	"password_policy: strict", "secret_name: projects-x", `{"secret_name":"prod-db","secretArn":"arn:x"}`, "password_reset_required: true", "reset_password: false", "api_key_id: key_12",
	`{"api_key_id":"key_12","password_reset_required":true,"has_password":false,"password":null}`, "access_key_id=abc", "password_file=/run/secrets/db", "secret_manager: vault", "token_type: bearer", `{"token_type":"Bearer"}`,
	"/home/bob/passwords/readme.md", "/etc/secrets/token", "C:\\Users\\bob\\password.txt", "https://example.com/reset-password?step=2", "https://example.com/a/b?page=1&sort=key", "https://medium.com/@bob/post", "https://registry.npmjs.org:443/@babel/core",
	"http://[::1]:8080/@x", "mailto:bob@example.com", "git@github.com:a/b.git", "https://host:8080/a:b@c", "Note: this is it. Two things: one, two", "He said: hello", "Ratio 3:4 at 10:30, a=b", "key: value", "Key points: a, b and c", "sort key: name",
	"The secret of success: work hard", "Passwords must match: see below", "The password is on the note.", "the password is required", "password is too short", "API key is missing", "API key is required for this", "token is expired", "a password to access it", `secret "db-creds" not found`, `secrets "a" is forbidden`, "x: &anchor value", "from '@/components'", "https://a.b/c:d@/e", "the `password` field", "the password field: required",
	"The token limit is 128k", "first token: hello", "the next token is hello", "a secretary: Bob", "compass: north", "passport: none", "password: str", "api_key: Optional[str] = None", "def reset_password(user):\n    return user", "if check(password): return 1", "password: null", "password=None, user=x", "password: true",
	"{'name': 'tool', 'value': 'x'}", `{"name":"get_weather","value":"x"}`, `{"key":"color","value":"red"}`, `{"required":["password","email"],"n":1}`, `{"name":"password","type":"string"}`, `{"role":"tool","name":"get_secret","content":"the result"}`, `{"allow_headers":["Authorization","Content-Type"]}`,
	`["a","b"]`, `("a", "b")`, `x in ("key", "value")`, `["user","bob"]`, "<author>Jane</author>", "<key>color</key><string>red</string>", `<add key="color" value="red"/>`, "<token_count>12</token_count>", "a%3Db&c%3Dd", "100% sure: yes", "https%3A%2F%2Fexample.com%2Fa", "-u root", "docker run -u 1000:1000 x", "mkdir -p dir", "docker run -p 80:80 x",
	"monkey[1] = 2", "cookie_policy: strict", "cookie consent: yes", "bypass=1", "pass rate: 97%", "pass_rate: 0.97", "tokenizer: cl100k_base", "tokenization: bpe", "signature_version: 4", "keywords: a, b", "key_value_store: redis", "keys: a b", "foreign key: a -> b", "sessions: 3", "PWD=/home/agent",
	"https://x/?key=user-profile-2024-settings-page", "https://x/?key=550e8400-e29b-41d4-a716-446655440000", "https://x/?sort=a&key=createdAt2&x=1", "https://s3/list?key=Reports/2024/Q1.pdf", "a;key=xYzZyPlUgH7391qWbN5kR8tV2mQ4",
	"deployment pa-dashboard-frontend-deployment-7d4b9c6f5-x2x4q is up", "wifi: on", "WIFI:T:nopass;S:guest;;", "WIFI: P: the password", "curl --url x:y -upload", "dp.st. is a prefix", "Password\n========\nIt is said", "password\n: what you know", "Set the password\n= of the user", "Passwords\n:\nnever share them with others",
	"&lt;author&gt;Jane&lt;/author&gt;", "&lt;password/&gt;", "Use &lt;password&gt; for it", "&lt;token_count&gt;12&lt;/token_count&gt;", "PASSWORD=\n\"next\"", "el mot de passe est long", "la contraseña es larga", `"max_tokens=5 and more"`, "session_id=abc-123-def-456", `{"session_id":"3f2b1c0d9e8f7a6b5c4d","sessionid":"abc"}`,
	"password:", "password: \nuser: bob", "PASSWORD=\nUSER=bob", "Reset your password:\n1. Open the settings\n2. Click", "How to choose a password:\nUse a long phrase.", "password.\nNext: step", "{\"a\": 1, \"password\"", "password", "secret", `"password"`, "get_secret('db')", "getpass('Password: ')",
	"valid_token: hello", "hash key: user#12", "key_arn: arn:aws:kms:x", "token_usage: {'prompt': 1}", "| Field | Meaning |", "`max_tokens`: the limit", "**Tokens:** 812", "- **Author**: Jane", "Authorization flow", "PasswordHasher: argon2", "password_hasher=argon2", "secrets_engine: kv", "password manager: bitwarden",
}

func TestWhatStaysReadable(t *testing.T) {
	t.Parallel()
	r := redact.New(redact.Options{})
	for _, in := range readable {
		if got := r.Text(in); got != in {
			t.Errorf("%q became\n%q", in, got)
		}
	}
}
