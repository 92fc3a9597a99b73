package demo

import "fmt"

// lookup is a question that one or two tools answer.
type lookup struct {
	id, category string
	text         string
	tool         string
	args         map[string]any
	result       map[string]any
	key          string // in the state
	answer       string
}

// lookup makes up a question with numbers of its own.
func (t *timeline) lookup() lookup {
	number := func(lo, hi int) int { return lo + t.rng.IntN(hi-lo+1) }
	order := number(20000, 89999)
	city := pick(t, []string{"Lisbon", "Oslo", "Nagoya", "Montréal", "Kraków", "Valparaíso", "Accra", "Wellington"})
	flight := fmt.Sprintf("%s %d", pick(t, []string{"TP", "SK", "LH", "AC", "NZ"}), number(100, 999))
	temperature, wind := number(-4, 33), number(3, 48)
	days, pieces, bay := number(1, 6), number(0, 140), number(2, 40)
	rate := round(1.02+float64(t.rng.Float64()*0.15), 4)
	amount := number(2, 90) * 100
	delay := number(10, 95)
	all := []lookup{
		{"t-301", "Simple", fmt.Sprintf("What is the weather in %s tomorrow?", city), "weather_forecast", map[string]any{"city": city, "days": 1},
			map[string]any{"temperature_c": temperature, "wind_kmh": wind, "sky": "partly cloudy"}, "weather",
			fmt.Sprintf("Tomorrow %s has about %d degrees, partly cloudy, with wind of %d km/h in the afternoon.", city, temperature, wind)},
		{"t-302", "Simple", fmt.Sprintf("Where is order %d?", order), "order_status", map[string]any{"order": order},
			map[string]any{"status": "in transit", "carrier": "Nordpost", "days_left": days}, "order",
			fmt.Sprintf("Order %d left the warehouse and is with Nordpost; it should arrive in %d days at the latest.", order, days)},
		{"t-303", "Medium", fmt.Sprintf("Do we have enough of article %d for an order of 60?", order), "stock_level", map[string]any{"article": order, "site": "all"},
			map[string]any{"pieces": pieces, "bay": bay, "incoming": 80}, "stock",
			fmt.Sprintf("There are %d pieces in bay %d and 80 more on the way, so an order of 60 can be filled by the end of the week.", pieces, bay)},
		{"t-304", "Medium", fmt.Sprintf("How much is an invoice of %d dollars in euros today?", amount), "exchange_rate", map[string]any{"from": "EUR", "to": "USD"},
			map[string]any{"rate": rate, "source": "reference rate"}, "exchange",
			fmt.Sprintf("At today's reference rate of %.4f the invoice comes to %.2f euros.", rate, float64(amount)/rate)},
		{"t-305", "Simple", fmt.Sprintf("Is flight %s on time?", flight), "flight_status", map[string]any{"flight": flight},
			map[string]any{"status": "delayed", "minutes": delay, "gate": fmt.Sprintf("B%d", bay)}, "flight",
			fmt.Sprintf("Flight %s is %d minutes late because its aircraft came in late; it leaves from gate B%d.", flight, delay, bay)},
		{"t-306", "Edge", fmt.Sprintf("Can order %d still go to %s instead?", order, city), "shipping_options", map[string]any{"order": order, "city": city},
			map[string]any{"redirect": true, "fee": 6.5, "days_left": days + 2}, "shipping",
			fmt.Sprintf("It can: the carrier will take order %d to %s for a fee of 6.50, which adds two days.", order, city)},
	}
	return pick(t, all)
}

// proposal is an action that a human must approve.
type proposal struct {
	id, category string
	text         string // what was asked for
	tool         string // that looks at the facts
	args         map[string]any
	facts        map[string]any
	action       string // the tool that acts
	actionArgs   map[string]any
	result       map[string]any
	reason       string // why a human is asked
	plan         string // what the agent says
	approved     string // what a human says
	rejected     string
}

func (t *timeline) proposal() proposal {
	number := func(lo, hi int) int { return lo + t.rng.IntN(hi-lo+1) }
	order, amount, pods := number(20000, 89999), number(60, 900), number(12, 30)
	rows, people := number(1200, 98000), number(3, 60)*100
	service := pick(t, []string{"checkout", "payments", "search", "invoicing"})
	all := []proposal{
		{"t-401", "Medium", fmt.Sprintf("Refund order %d, it arrived broken.", order), "order_details", map[string]any{"order": order},
			map[string]any{"paid": amount, "delivered": true, "photos": 2}, "refund", map[string]any{"order": order, "amount": amount}, map[string]any{"refunded": amount, "reference": fmt.Sprintf("rf-%d", order)},
			fmt.Sprintf("A refund of %d is above the limit of 50 for agents.", amount),
			fmt.Sprintf("The photos show the damage and the order was paid in full. I propose to refund %d to the card that paid.", amount),
			"Agreed, the photos are clear.", "Offer a replacement first, please."},
		{"t-402", "Complex", fmt.Sprintf("The %s service is slow since noon, please help it.", service), "service_health", map[string]any{"service": service, "minutes": 60},
			map[string]any{"p95_ms": number(900, 2600), "cpu": 0.94, "pods": 8}, "scale_deployment", map[string]any{"service": service, "pods": pods}, map[string]any{"pods": pods, "ready": pods},
			"Changes of production need a second pair of eyes.",
			fmt.Sprintf("All pods of %s run at their CPU limit while the database is idle. I propose to go from 8 to %d pods until the evening.", service, pods),
			"Go ahead, and note it in the channel.", "Wait, the marketing test ends in ten minutes."},
		{"t-403", "Edge", "Remove customers who have not logged in for five years.", "count_customers", map[string]any{"inactive_years": 5},
			map[string]any{"customers": rows, "with_open_invoices": number(1, 40)}, "delete_customers", map[string]any{"inactive_years": 5, "keep": "open invoices"}, map[string]any{"deleted": rows},
			"Deleting cannot be undone.",
			fmt.Sprintf("%d customers match. I leave out those with open invoices, export the rest first and then delete it.", rows),
			"Fine with the export in place.", "Not before the auditors were here."},
		{"t-404", "Medium", "Tell the beta users about the new export.", "find_users", map[string]any{"segment": "beta"},
			map[string]any{"users": people, "languages": 4}, "send_mailing", map[string]any{"segment": "beta", "template": "export-announcement"}, map[string]any{"queued": people},
			fmt.Sprintf("Mailings to more than 100 people are approved by a person; this one has %d recipients.", people),
			fmt.Sprintf("The text is ready in four languages. I propose to send it to %d beta users on Tuesday at nine, each in their time zone.", people),
			"Nice text. Send it.", "Please leave out the customers in the pilot of March."},
	}
	return pick(t, all)
}

// bug is something to mend in a program.
type bug struct {
	id, category string
	text         string
	path, test   string
	lines        int
	suspicion    string
	cause        string
	edit         string
	second       string // what the tests find after the first edit
	secondEdit   string
	summary      string
}

func bugs() []bug {
	return []bug{
		{"t-501", "Medium", "TestInvoiceTotal fails since yesterday, please mend it.", "billing/total.go", "TestInvoiceTotal", 212,
			"The totals are off by one cent, which smells of rounding.", "Each line is rounded before the sum, the test expects one rounding at the end.",
			"sum in cents as integers, round once", "TestCreditNote expects the old rounding of single lines.", "keep the rounding where a line is printed",
			"The total is now summed in whole cents and rounded once. Printed lines are rounded on their own, as credit notes need it."},
		{"t-502", "Complex", "The importer hangs on files of more than 64 kilobytes.", "importer/reader.go", "TestLargeFile", 341,
			"64 KiB is the size of a pipe's buffer, so somebody writes and nobody reads.", "Standard error of the child process is never read, so it blocks when the buffer is full.",
			"read both outputs at the same time", "TestCancel leaves a goroutine behind.", "end the readers when the context ends",
			"Both outputs of the child are read at the same time, and the readers end with the context, so neither a large file nor a cancellation can hang."},
		{"t-503", "Simple", "The date on the report is a day early in Auckland.", "report/date.go", "TestReportDate", 96,
			"A day early and far east: the date is made in UTC.", "The timestamp is cut to a day before it is moved to the customer's time zone.",
			"convert first, then cut to a day", "TestReportDateDST fails on the day the clocks change.", "add a day by the calendar, not 24 hours",
			"The timestamp is converted to the customer's time zone before it becomes a date, and days are added by the calendar."},
		{"t-504", "Complex", "The cache serves deleted products now and then.", "catalog/cache.go", "TestDeleteInvalidates", 278,
			"Now and then means a race: a read that began before the delete fills the cache after it.", "The entry is removed before the row is, so a reader in between puts the old row back.",
			"delete the row first, then the entry, under the key's lock", "TestConcurrentReaders deadlocks.", "take the lock per key only around the fill",
			"A fill and a delete of one key exclude each other now, and the row goes before the entry, so nothing stale can come back."},
		{"t-505", "Edge", "Search finds nothing for names with an apostrophe.", "search/tokenize.go", "TestNames", 154,
			"There are three characters that people call an apostrophe.", "The index keeps the typographic apostrophe, the query is normalised to the plain one.",
			"normalise both with the same function", "TestHighlight marks one character too few.", "measure in the original text, not in the normalised one",
			"Index and query share one normalisation, and highlighting measures in the text as it was written."},
	}
}

// breakdown is a run that cannot succeed.
type breakdown struct {
	id, category string
	text         string
	node         string // where it fails
	tool         string // "" fails in the model
	args         map[string]any
	retries      []error
	fatal        error
	suggestions  []string
}

func (t *timeline) breakdown() breakdown {
	account := 10000 + t.rng.IntN(90000)
	month := pick(t, []string{"January", "March", "April", "June", "September", "November"})
	all := []breakdown{
		{"t-601", "Medium", fmt.Sprintf("Send the statement of %s to account %d.", month, account), "fetch", "ledger_export", map[string]any{"account": account, "month": month},
			[]error{UpstreamError("ledger answered with status 503"), UpstreamError("ledger answered with status 503")},
			UpstreamError("ledger answered with status 503, three times in 4 seconds"), []string{"Look at the status page of the ledger", "Run again when it is back"}},
		{"t-602", "Complex", fmt.Sprintf("Compare all contracts of account %d.", account), "compose", "", nil,
			[]error{RateLimitError("429: tokens per minute used up")},
			LimitError("the prompt has 212480 tokens, the model takes 128000"), []string{"Summarise each contract first", "Choose a model with a larger context"}},
		{"t-603", "Edge", fmt.Sprintf("Move account %d to the new region.", account), "fetch", "account_profile", map[string]any{"account": account},
			nil, PermissionError(fmt.Sprintf("the service account may not read account %d", account)), []string{"Ask an administrator for the role account-reader"}},
		{"t-604", "Medium", fmt.Sprintf("Book the payments of %s for account %d.", month, account), "act", "book_payment", map[string]any{"account": account, "month": month, "dry_run": false},
			[]error{TimeoutError("no answer from the bank's gateway within 10 seconds")},
			TimeoutError("no answer from the bank's gateway within 10 seconds, twice; the booking may have happened"), []string{"Look for the booking by its key before trying again"}},
		{"t-605", "Complex", fmt.Sprintf("Make a forecast for account %d.", account), "act", "forecast", map[string]any{"account": account, "months": 12},
			[]error{ValidationError("the answer lacks the field interval"), ValidationError("the answer lacks the field interval")},
			ValidationError("the answer lacks the field interval, after two corrections"), []string{"Check the version of the forecast service", "Pin the schema of its answer"}},
	}
	return pick(t, all)
}

// tuning is a prompt to improve.
type tuning struct {
	id, category string
	text         string
	name         string
	baseline     string
	candidates   []string
}

func tunings() []tuning {
	return []tuning{
		{"t-701", "Medium", "Improve the prompt that sorts support requests.", "triage",
			"Which team should handle this request?",
			[]string{
				"Name the team that can solve this request without asking another team.",
				"List what the customer wants, then name the team; say \"unclear\" where two would do.",
				"Here are six requests and their teams. Name the team of the seventh, and quote the words that decide.",
			}},
		{"t-702", "Complex", "Improve the prompt that summarises incidents.", "incident_summary",
			"Summarise this incident.",
			[]string{
				"Summarise in three sentences: what users saw, why, what was done.",
				"Write for somebody who was asleep: what users saw, from when to when, why, what keeps it from coming back.",
				"Write what users saw and for how long; leave out every name and every guess.",
			}},
		{"t-703", "Simple", "Improve the prompt that writes titles for notes.", "title",
			"Write a title.",
			[]string{
				"Write a title of at most six words that names the thing and not the feeling.",
				"Write the title that the author would look for in a year.",
				"Write three titles and return the shortest that is still true.",
			}},
	}
}
