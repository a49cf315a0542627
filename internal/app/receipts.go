package app

import (
	"context"
	"time"

	"rollcall/internal/postgres/receipts"
	"rollcall/internal/source"
)

// noteReceiptsPause is the pause between two notes of what was received; what a replica that dies has not noted is
// lost.
const noteReceiptsPause = 5 * time.Second

// lastNote bounds the note at the end, before which nothing is shut down.
const lastNote = 300 * time.Millisecond

// receiptKeys are those of all secrets.
func (s *Setup) receiptKeys() []receipts.Key {
	var keys []receipts.Key
	for _, src := range s.Sources {
		for endpoint, name := range map[source.Endpoint]string{source.Hook: receipts.Webhook, source.Database: receipts.Database} {
			for _, mark := range src.Marks(endpoint) {
				keys = append(keys, receipts.Key{Source: src.Name(), Endpoint: name, Secret: mark})
			}
		}
	}
	return keys
}

// noteReceipts notes what was received, at once and then after each pause, and a last time at the end.
func (sv *service) noteReceipts(ctx context.Context) {
	every(ctx, noteReceiptsPause, func() { sv.noteReceiptsOnce(ctx) })
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastNote)
	defer cancel()
	sv.noteReceiptsOnce(last)
}

func (sv *service) noteReceiptsOnce(ctx context.Context) {
	taken := sv.receipts.Take(time.Now())
	if receipts.Note(ctx, sv.db.Pool(), taken) != nil {
		sv.receipts.Return(taken)
	}
}
