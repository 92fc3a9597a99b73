package demo

// state is what a graph's nodes share. A scenario uses the fields it needs.
type state struct {
	Task       string          `json:"task"`
	Status     string          `json:"status"`
	Messages   []message       `json:"messages"`
	Queries    []string        `json:"queries,omitempty"`
	Documents  []document      `json:"documents,omitempty"`
	Plan       []string        `json:"plan,omitempty"`
	Findings   []finding       `json:"findings,omitempty"`
	Draft      string          `json:"draft,omitempty"`
	Revision   int             `json:"revision,omitempty"`
	Critiques  []critique      `json:"critiques,omitempty"`
	Scores     []float64       `json:"scores,omitempty"`
	Lookups    map[string]any  `json:"lookups,omitempty"`
	Files      map[string]file `json:"files,omitempty"`
	Approval   *approval       `json:"approval,omitempty"`
	Candidates []candidate     `json:"candidates,omitempty"`
	Best       string          `json:"best,omitempty"`
	Memories   []string        `json:"memories,omitempty"`
	Answer     string          `json:"answer,omitempty"`
	Failure    string          `json:"failure,omitempty"`
	Usage      usage           `json:"usage"`
}

type message struct {
	Role    string `json:"role"` // user, assistant, tool, critic
	Name    string `json:"name,omitempty"`
	Content string `json:"content"`
}

type document struct {
	ID    string  `json:"id"`
	Title string  `json:"title"`
	Text  string  `json:"text"`
	Score float64 `json:"score"`
}

type finding struct {
	Source string `json:"source"`
	Claim  string `json:"claim"`
	Weight string `json:"weight"` // strong, fair, weak
}

type critique struct {
	Revision int     `json:"revision"`
	Score    float64 `json:"score"`
	Comment  string  `json:"comment"`
}

type file struct {
	Lines   int  `json:"lines"`
	Changed bool `json:"changed"`
}

type approval struct {
	Action   string `json:"action"`
	Reason   string `json:"reason"`
	Decision string `json:"decision"` // pending, approved, rejected
	By       string `json:"by,omitempty"`
	Note     string `json:"note,omitempty"`
}

type candidate struct {
	Name   string  `json:"name"`
	Prompt string  `json:"prompt"`
	Score  float64 `json:"score"`
}

// usage sums up the calls of models.
type usage struct {
	Calls            int     `json:"calls"`
	PromptTokens     int     `json:"prompt_tokens"`
	CompletionTokens int     `json:"completion_tokens"`
	CostUSD          float64 `json:"cost_usd"`
}
