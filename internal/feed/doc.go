// Package feed is the log as this process reads it: one topic, every partition,
// no consumer group, no commits.
//
// A [Feed] keeps a hot tail of recent records in memory, bounded in bytes and
// shared by all readers, and serves older records from Kafka through a shared
// cache. A [Reader] is a cursor: one next offset for each partition. It holds
// no queue, so a slow reader costs nothing but its position: it falls behind
// the hot tail and continues from Kafka.
//
// The promise, for every reader and partition: offsets strictly rise, each
// record comes once, and whatever cannot come is named in a [Gap] or a [Reset]
// before any later record of that partition.
//
// Positions never move past a record by assumption. Each [Segment] says which
// offsets it covers (from and next, for each partition that it moves), and a
// reader takes a segment only where its own position is not behind that range;
// otherwise it reads what lies between from Kafka first.
package feed
