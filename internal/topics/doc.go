// Package topics creates the topics of DashStream from one definition and says how a live topic differs from it.
//
// Nothing relies on topics that a broker creates by itself: they would have the broker's number of partitions, its
// retention and its size limit. "dashstream up" and "dashstream topics ensure" call Ensure; other commands call Verify,
// which changes nothing and says what to run.
//
// Ensure may run in any number of processes at once and any number of times. It creates what is missing and leaves what
// is there as it is, unless Options say otherwise; nothing makes it take away a partition or a replica.
package topics
