package redact

// rule recognises a credential by its form: a literal and what follows it.
type rule struct {
	literal string // lower case, as the automaton wants it
	// match looks at the literal at s[i:]. It returns the secret's bounds, and how far it has read: the same rule need not
	// look again before that.
	match func(s string, i int) (start, end, read int, ok bool)
}

// form describes the common shape: a fixed beginning, then at least min bytes of a set.
type form struct {
	begin string
	rest  *charset
	min   int
	// digit asks for a digit among the rest, for beginnings that English has too.
	digit bool
	// apart asks that no letter or digit stands before, for short beginnings.
	apart bool
	// mixed asks for small and capital letters and digits among the rest, for beginnings that names have too.
	mixed bool
}

func (f form) rule() rule {
	match := func(s string, i int) (int, int, int, bool) {
		from := i + len(f.begin)
		if s[i:from] != f.begin || f.apart && i > 0 && alnum.has(s[i-1]) {
			return 0, 0, 0, false
		}
		end := f.rest.run(s, from)
		ok := end-from >= f.min && (!f.digit || hasAny(s[from:end], &digits)) && (!f.mixed || isMixed(s[from:end]))
		return i, end, end, ok
	}
	literal := make([]byte, len(f.begin))
	for i := range literal {
		literal[i] = lower(f.begin[i])
	}
	return rule{string(literal), match}
}

var forms = []form{
	// Model providers.
	{begin: "sk-", rest: &wordChars, min: 16, digit: true, apart: true}, // OpenAI, DeepSeek, OpenRouter and others
	{begin: "sk-proj-", rest: &wordChars, min: 8},
	{begin: "sk-svcacct-", rest: &wordChars, min: 8},
	{begin: "sk-admin-", rest: &wordChars, min: 8},
	{begin: "sk-ant-", rest: &wordChars, min: 8},
	{begin: "sk-or-", rest: &wordChars, min: 16, digit: true},
	{begin: "AIza", rest: &wordChars, min: 30},
	{begin: "hf_", rest: &alnum, min: 20, apart: true},
	{begin: "api_org_", rest: &alnum, min: 20},
	{begin: "gsk_", rest: &alnum, min: 20, apart: true},
	{begin: "xai-", rest: &wordChars, min: 20, digit: true, apart: true},
	{begin: "r8_", rest: &alnum, min: 20, apart: true},
	{begin: "pplx-", rest: &alnum, min: 20},
	{begin: "nvapi-", rest: &wordChars, min: 20},
	{begin: "csk-", rest: &alnum, min: 20, apart: true},
	{begin: "fw_", rest: &alnum, min: 20, digit: true, apart: true},
	{begin: "tgp_v1_", rest: &wordChars, min: 20},
	{begin: "sk_", rest: &hexDigits, min: 40, apart: true},              // ElevenLabs
	{begin: "pa-", rest: &wordChars, min: 40, apart: true, mixed: true}, // Voyage
	{begin: "jina_", rest: &wordChars, min: 30},
	{begin: "e2b_", rest: &hexDigits, min: 30, apart: true},
	{begin: "pcsk_", rest: &wordChars, min: 20},
	{begin: "tvly-", rest: &wordChars, min: 16},
	{begin: "lsv2_pt_", rest: &wordChars, min: 20},
	{begin: "lsv2_sk_", rest: &wordChars, min: 20},
	{begin: "ls__", rest: &alnum, min: 20, apart: true},
	{begin: "sk-lf-", rest: &wordChars, min: 16},
	// Clouds.
	{begin: "AKIA", rest: &upperAlnum, min: 16},
	{begin: "ASIA", rest: &upperAlnum, min: 16},
	{begin: "ya29.", rest: &tokenChars, min: 10},
	{begin: "GOCSPX-", rest: &wordChars, min: 10},
	{begin: "dapi", rest: &hexDigits, min: 32, apart: true}, // Databricks
	{begin: "dop_v1_", rest: &hexDigits, min: 32},
	{begin: "doo_v1_", rest: &hexDigits, min: 32},
	{begin: "dor_v1_", rest: &hexDigits, min: 32},
	{begin: "hvs.", rest: &wordChars, min: 20},
	{begin: "hvb.", rest: &wordChars, min: 20},
	{begin: "tskey-", rest: &wordChars, min: 16},
	{begin: "pscale_tkn_", rest: &dotted, min: 20},
	{begin: "pscale_pw_", rest: &dotted, min: 20},
	{begin: "sbp_", rest: &hexDigits, min: 32, apart: true},
	{begin: "dp.pt.", rest: &dotted, min: 30, apart: true}, // Doppler
	{begin: "dp.st.", rest: &dotted, min: 30, apart: true},
	{begin: "dp.ct.", rest: &dotted, min: 30, apart: true},
	{begin: "dp.sa.", rest: &dotted, min: 30, apart: true},
	{begin: "dp.said.", rest: &dotted, min: 30, apart: true},
	{begin: "dp.scim.", rest: &dotted, min: 30, apart: true},
	{begin: "dp.audit.", rest: &dotted, min: 30, apart: true},
	// Code hosts and registries.
	{begin: "ghp_", rest: &alnum, min: 20},
	{begin: "gho_", rest: &alnum, min: 20},
	{begin: "ghu_", rest: &alnum, min: 20},
	{begin: "ghs_", rest: &wordChars, min: 20},
	{begin: "ghr_", rest: &alnum, min: 20},
	{begin: "github_pat_", rest: &wordChars, min: 20},
	{begin: "glpat-", rest: &dotted, min: 10},
	{begin: "gldt-", rest: &dotted, min: 10},
	{begin: "glrt-", rest: &dotted, min: 10},
	{begin: "glptt-", rest: &dotted, min: 10},
	{begin: "npm_", rest: &alnum, min: 30, apart: true},
	{begin: "pypi-", rest: &wordChars, min: 30},
	{begin: "dckr_pat_", rest: &wordChars, min: 16},
	{begin: "dckr_oat_", rest: &wordChars, min: 16},
	{begin: "rubygems_", rest: &hexDigits, min: 32},
	// Services.
	{begin: "xoxb-", rest: &dotted, min: 10},
	{begin: "xoxp-", rest: &dotted, min: 10},
	{begin: "xoxa-", rest: &dotted, min: 10},
	{begin: "xoxr-", rest: &dotted, min: 10},
	{begin: "xoxs-", rest: &dotted, min: 10},
	{begin: "xoxc-", rest: &dotted, min: 10},
	{begin: "xoxd-", rest: &tokenChars, min: 10},
	{begin: "xoxe-", rest: &dotted, min: 10},
	{begin: "xoxe.", rest: &dotted, min: 10},
	{begin: "xapp-", rest: &dotted, min: 10},
	{begin: "hooks.slack.com/services/", rest: &slashed, min: 10},
	{begin: "hooks.slack.com/workflows/", rest: &slashed, min: 10},
	{begin: "discord.com/api/webhooks/", rest: &slashed, min: 20},
	{begin: "sk_live_", rest: &alnum, min: 10},
	{begin: "sk_test_", rest: &alnum, min: 10},
	{begin: "rk_live_", rest: &alnum, min: 10},
	{begin: "rk_test_", rest: &alnum, min: 10},
	{begin: "sq0atp-", rest: &wordChars, min: 20}, // Square
	{begin: "sq0csp-", rest: &wordChars, min: 20},
	{begin: "whsec_", rest: &base64, min: 16},
	{begin: "SG.", rest: &dotted, min: 30, apart: true}, // SendGrid
	{begin: "SK", rest: &hexDigits, min: 32, apart: true},
	{begin: "key-", rest: &hexDigits, min: 32, apart: true}, // Mailgun
	{begin: "shpat_", rest: &hexDigits, min: 32},
	{begin: "shpss_", rest: &hexDigits, min: 32},
	{begin: "shpca_", rest: &hexDigits, min: 32},
	{begin: "shppa_", rest: &hexDigits, min: 32},
	{begin: "lin_api_", rest: &alnum, min: 20},
	{begin: "ntn_", rest: &alnum, min: 20, apart: true},
	{begin: "secret_", rest: &alnum, min: 40, apart: true}, // Notion
	{begin: "ATATT3", rest: &tokenChars, min: 20},
	{begin: "glsa_", rest: &wordChars, min: 20},
	{begin: "glc_", rest: &base64, min: 30, apart: true},
	{begin: "figd_", rest: &wordChars, min: 20},
	{begin: "sntrys_", rest: &tokenChars, min: 20},
	{begin: "sntryu_", rest: &hexDigits, min: 32},
	{begin: "PMAK-", rest: &wordChars, min: 20},
	{begin: "NRAK-", rest: &alnum, min: 20},
	{begin: "AGE-SECRET-KEY-1", rest: &alnum, min: 20},
}

// rules is every credential known by its form.
var rules = func() []rule {
	out := []rule{
		{"eyj", matchJWT},
		{"bearer", matchBearer},
		{"basic", matchBasic},
		{"-----begin", matchPrivateKey},
		{"---- begin", matchPrivateKey},
		{"-----end", matchPrivateKeyEnd},
		{"putty-user-key-file-", matchRest},
		{"://", matchUserinfo},
		{":aa", matchTelegram},
		{"jqqj99", matchAzure},
		{":apa91b", matchFirebase},
		{"?key=", matchKeyParameter},
		{"&key=", matchKeyParameter},
		{";key=", matchKeyParameter},
		{"wifi:", matchWiFi},
		{" -u", matchAttachedUser},
		{"-u ", matchUser("-u ")},
		{"--user ", matchUser("--user ")},
		{"--user=", matchUser("--user=")},
		{"--proxy-user ", matchUser("--proxy-user ")},
		{"--proxy-user=", matchUser("--proxy-user=")},
		{" -p", matchShortPassword},
		{" -a ", matchRedisPassword},
		{"identified by ", matchIdentified},
		{"%2f", matchEncodedUserinfo},
		{"%252f", matchEncodedUserinfo},
		{"@tcp(", matchDSN},
		{"@unix(", matchDSN},
		{"@(", matchDSN},
		{"@/", matchDSN},
		{"jdbc:oracle:thin:", matchOracle},
		{"private key-----", matchPrivateKeyBody},
		{"ls0tls1crudjti", matchPrivateKeyBase64},
	}
	for _, f := range forms {
		out = append(out, f.rule())
	}
	return out
}()
