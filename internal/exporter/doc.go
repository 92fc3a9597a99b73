// Package exporter reads the topic as a member of a consumer group and turns it into metrics. It commits only what it has
// handled, accounts for every record, and puts each that it cannot handle where a person can find it.
//
// One goroutine handles records, one partition's in order. It holds a lock while it does, and a scrape holds the same: what a
// scrape shows is the state between two records, so all that must add up does.
package exporter
