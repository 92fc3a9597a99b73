package feed

// HistoryReads returns how many reads of older records the feed has made.
func HistoryReads(f *Feed) int64 { return f.gen.Load().history.count.Load() }
