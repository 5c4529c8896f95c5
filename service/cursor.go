package service

import (
	"context"
	"errors"
	"strings"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

// A cursor that goes out is db.EventCursor's text with the beginning of the cluster's
// id behind it. A cluster that was restored from a backup has another id and counts on
// from the backup's index: without the id, a cursor from what the backup does not hold
// would soon be taken for one of the new cluster, and skip what happened there.

// clusterTagBytes is enough of the id to tell a cluster from the ones before it.
const clusterTagBytes = 8

// cursorText renders a cursor for clients.
func (s *server) cursorText(c db.EventCursor) string {
	tag := s.engine.ClusterID()
	if tag == "" {
		return c.String()
	}
	return c.String() + "-" + tag[:min(len(tag), clusterTagBytes)]
}

// parseCursor reads what cursorText wrote. The id may be missing: who reads the table
// of events in SQL knows index and ordinal only. Whose id it is can be told once this
// member has a state: see isForeign.
func parseCursor(text string) (c db.EventCursor, tag string, err error) {
	place := text
	if parts := strings.SplitN(text, "-", 3); len(parts) == 3 && len(parts[2]) == clusterTagBytes {
		place, tag = parts[0]+"-"+parts[1], parts[2]
	}
	if c, err = db.ParseCursor(place); err != nil {
		_, err = db.ParseCursor(text) // for its error, which it has for all of the text
	}
	return c, tag, err
}

func (s *server) isForeign(tag string) bool {
	return tag != "" && !strings.HasPrefix(s.engine.ClusterID(), tag)
}

// events is db's Events, with cursors for clients in its errors.
func (s *server) events(ctx context.Context, after db.EventCursor, limit int) ([]controlplane.Event, error) {
	events, err := s.Tasks.Events(ctx, after, limit)
	var expired *controlplane.Error
	if errors.As(err, &expired) && expired.Reason == db.ReasonCursorExpired {
		for k, text := range expired.Metadata {
			if c, err := db.ParseCursor(text); err == nil {
				expired.Metadata[k] = s.cursorText(c)
			}
		}
	}
	return events, err
}

func foreignCursor(text string) error {
	return controlplane.FieldErrorf("cursor", "%q comes from another cluster, or from before this one was restored: read the state anew, and leave the cursor empty for what happens from now on, or give 0 for all changes", text)
}
