package blob

import (
	"context"
	"sync"
	"time"

	"megafs/remote"
)

// Budget is what work in the background may ask of a store: so many requests and bytes an hour. A sixth of that may be spent at once. A request
// waits until something is left, and then takes what it takes, so that one larger than the budget gets on, too. It is safe for concurrent use.
type Budget struct {
	requests, bytes float64 // an hour

	mu            sync.Mutex
	left, leftBy  float64 // requests and bytes
	at            time.Time
	spent, spentB uint64
}

// NewBudget makes a budget that is full.
func NewBudget(requests, bytes int64) *Budget {
	b := &Budget{requests: float64(max(requests, 1)), bytes: float64(max(bytes, 1)), at: time.Now()}
	b.left, b.leftBy = b.requests/6, b.bytes/6
	return b
}

// Spent returns how many requests and bytes were spent in all.
func (b *Budget) Spent() (requests, bytes uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.spent, b.spentB
}

// wait returns when something is left.
func (b *Budget) wait(ctx context.Context, name string) error {
	for {
		d := b.short()
		if d <= 0 {
			return nil
		}
		t := time.NewTimer(d)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return checkCtx(ctx, "wait for the budget", name)
		}
	}
}

// short is how long nothing will be left.
func (b *Budget) short() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	hours := max(0, now.Sub(b.at).Hours())
	b.at = now
	b.left = min(b.requests/6, b.left+hours*b.requests)
	b.leftBy = min(b.bytes/6, b.leftBy+hours*b.bytes)
	need := max(-b.left/b.requests, -b.leftBy/b.bytes)
	if need < 0 {
		return 0
	}
	return time.Duration(need*float64(time.Hour)) + time.Millisecond
}

func (b *Budget) take(requests, bytes int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left -= float64(requests)
	b.leftBy -= float64(bytes)
	b.spent += uint64(requests)
	b.spentB += uint64(bytes)
}

type budgetKey struct{}

type spending struct {
	b     *Budget
	waits bool
}

// Spending returns a context whose requests to a Paced store wait for a budget, and count.
func Spending(ctx context.Context, b *Budget) context.Context {
	return context.WithValue(ctx, budgetKey{}, spending{b, true})
}

// Hurried returns a context whose requests count, but wait no more: somebody else waits for them.
func Hurried(ctx context.Context) context.Context {
	if s, ok := ctx.Value(budgetKey{}).(spending); ok {
		return context.WithValue(ctx, budgetKey{}, spending{s.b, false})
	}
	return ctx
}

// listPage is how many names of a listing count as one request.
const listPage = 1000

type paced struct{ inner Store }

// Paced makes requests wait whose context has a budget.
func Paced(inner Store) Store { return paced{inner} }

// begin waits, and returns what counts the request and its bytes.
func (p paced) begin(ctx context.Context, name string) (func(bytes int), error) {
	s, ok := ctx.Value(budgetKey{}).(spending)
	if !ok {
		return func(int) {}, nil
	}
	if s.waits {
		if err := s.b.wait(ctx, name); err != nil {
			return nil, err
		}
	}
	s.b.take(1, 0)
	return func(n int) { s.b.take(0, n) }, nil
}

// Put implements Store.
func (p paced) Put(ctx context.Context, name string, data []byte) error {
	count, err := p.begin(ctx, name)
	if err != nil {
		return err
	}
	count(len(data))
	return p.inner.Put(ctx, name, data)
}

// Get implements Store.
func (p paced) Get(ctx context.Context, name string, limit int64) ([]byte, error) {
	count, err := p.begin(ctx, name)
	if err != nil {
		return nil, err
	}
	b, err := p.inner.Get(ctx, name, limit)
	count(len(b))
	return b, err
}

// GetRange implements Store.
func (p paced) GetRange(ctx context.Context, name string, off int64, dst []byte) error {
	count, err := p.begin(ctx, name)
	if err != nil {
		return err
	}
	count(len(dst))
	return p.inner.GetRange(ctx, name, off, dst)
}

// Size implements Store.
func (p paced) Size(ctx context.Context, name string) (int64, error) {
	if _, err := p.begin(ctx, name); err != nil {
		return 0, err
	}
	return p.inner.Size(ctx, name)
}

// List implements Store.
func (p paced) List(ctx context.Context, prefix, after string, fn func(Info) error) error {
	count, err := p.begin(ctx, prefix)
	if err != nil {
		return err
	}
	n := 0
	return p.inner.List(ctx, prefix, after, func(i Info) error {
		count(len(i.Name) + 8)
		if n++; n%listPage == 0 {
			if _, err := p.begin(ctx, prefix); err != nil {
				return err
			}
		}
		return fn(i)
	})
}

// Delete implements Store.
func (p paced) Delete(ctx context.Context, name string) error {
	if _, err := p.begin(ctx, name); err != nil {
		return err
	}
	return p.inner.Delete(ctx, name)
}

// Usage implements Store.
func (p paced) Usage(ctx context.Context) (remote.Usage, error) { return p.inner.Usage(ctx) }

// Close implements Store.
func (p paced) Close() error { return p.inner.Close() }
