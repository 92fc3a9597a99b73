package security

import (
	"os"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
)

// A gateway goes on trying, so that it serves by itself once the mistake is mended: a password that is put into its file, a
// permission that is given to its user.
func testRecovery(t *testing.T, b *broker) {
	t.Run("password", func(t *testing.T) {
		t.Parallel()
		file := writeFile(t, wrongSecret)
		e := b.sasl(t, "SASLTLS", "sasl_ssl").with(env{"KAFKA_SASL_PASSWORD": "", "KAFKA_SASL_PASSWORD_FILE": file})
		p := run(t, e, "gateway", "--listen", "127.0.0.1:0")
		addr := p.address()
		p.eventually("the gateway says what is wrong", func() bool { return strings.Contains(readyz(t, addr), "password is wrong") })
		if err := os.WriteFile(file, []byte(userSecret), 0o600); err != nil {
			t.Fatal(err)
		}
		if !p.eventually("the gateway is ready", func() bool { return readyz(t, addr) == "ok" }) {
			t.Errorf("it ended:\n%s", p.text())
		}
		leaksNothing(t, "gateway", p.text())
	})
	t.Run("permission", func(t *testing.T) {
		t.Parallel()
		user := variantUser(variants - 1)
		e := b.topicOf(t, aclCase{}, user)
		b.allow(t, []string{"User:" + user}, kadm.ACLPatternLiteral, []string{e["KAFKA_TOPIC"]}, kadm.OpDescribe)
		b.awaitACLs(t, user, 1)
		p := run(t, e, "gateway", "--listen", "127.0.0.1:0")
		addr := p.address()
		p.eventually("the gateway says what is missing", func() bool { return strings.Contains(readyz(t, addr), "lacks the permission READ") })
		b.allow(t, []string{"User:" + user}, kadm.ACLPatternLiteral, []string{e["KAFKA_TOPIC"]}, kadm.OpRead)
		if !p.eventually("the gateway is ready", func() bool { return readyz(t, addr) == "ok" }) {
			t.Errorf("it ended:\n%s", p.text())
		}
	})
}
