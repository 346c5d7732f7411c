"""What docs/design/policy.md says between its numbers, with places for those in the text."""

from __future__ import annotations

STORY = """
# The policy

Which bodies leave a window, and when. The code is `ctxgc/core/reuse.py` (how likely a body is needed again),
`pacer.py` (when, and how deep) and `regret_budget.py` (what it may cost). Every number here was played, without a
model, over
{sessions} recorded sessions of Claude Code and Codex, {turns} turns; `ctxgc replay` does the same with yours.

Of all tokens that tool results hold in a window, turn by turn, {live:.0f} % will be used again, {drag:.0f} % never
again, and {void:.0f} % were never used at all. What could go is plenty. What it costs to take it out decides: an edit
makes the provider bill everything behind it again. Holding a budget by dropping the least recently used costs
{lru:.0f} % of doing nothing.

By the provider's bill, ctxgc as it ships costs {claude_5m:.1f} % of doing nothing with Claude Code and a 5-minute
cache, {claude_1h:.1f} % with a 1-hour cache, and {codex:.1f} % with Codex, tool inputs and old thinking included.
These sessions are those that its weights and its price of a fault were fitted to. On sessions that neither was fitted
to, with a 5-minute cache, both agents together cost {cost:.1f} % [{low:.1f}, {high:.1f}] at {faults:.2f} faults in
100 turns. The
rest was chosen by looking at all of them: which features there are, the horizons H, the margin, how
many recent turns stay, the constant of the account, and that Φ is chosen by the views that are read again.

## What is decided

**Which:** one logistic estimate of whether a body will be used or read again. Eighteen numbers, fitted on recorded
sessions by ridge regression. Each says how much more often such a body was needed, everything else being equal:

![Weights of the reuse estimate](policy-weights.svg)

A plan down to a budget takes the lowest odds for each token freed.

**When:** a body goes when `freed · (w·[not cached] + r·H)` is worth more than `p · (r·P + 300 + w·(size + 60) + Φ)`
([symbols](collector.md#when-the-pacer)). A cold cache is collected at once. In a warm one a cut pays for all behind it,
so the best suffix goes, if it beats its rewrite by a quarter. It looks again when two thousand tokens have come, or
one in 128 of a huge window.

**Φ**, the price of a fault in input tokens, is the one dial. Each fold takes the least at which, on sessions that the
weights were not fitted to, at most 1.5 faults and 0.95 *view faults* come in 100 turns; what ships is the median of the
folds' choices. A view fault is a read of lines whose newest view, a read or a write of the file, is out. Faults by rare
words are a footnote: on unseen sessions a placebo has as many.
"""

LAW = """
## Never dearer than doing nothing

A warm cut pays now and earns later, and a session may end before it has earned: without a further rule single sessions
cost up to 106 %. So the pacer keeps an account. It knows to the token what the session would have cost untouched, and
what it has saved. No cut may leave the session, should it end with that request, further behind than the regret law
allows (`regret_law.py`): 1 % for a cut that only just pays, growing with what a cut pays over its rewrite to 10 % for
a cut that pays ten times over. Before the 80th turn the gains count in the part turn / 80: of a young session few turns
are to come more often than not. Beyond that, a rewrite is paid from what was saved before. A property test holds this
wherever a session is cut off, but for what recalls cost; a corpus test holds the sessions of eight agents to 101 % at
their end, and to 103 % at any turn without faults. Generated work with a login stands at 103.8 % for some turns
(`work_login` of `python -m perf.bench_bills`).
"""

BILLS_NOTE = """A provider holds no beginning of a prompt but those that ended at a breakpoint of an earlier request,
and finds one only within twenty blocks of a breakpoint of the next request ([the model](collector.md#when-the-pacer) is
`provider_cache.py`; OpenAI shares beginnings in steps of 128 tokens). The replay bills by that model, doing nothing
included, and the pacer asks the same model. The host sets breakpoints on its system prompt and the last block of each
request; ctxgc adds one breakpoint on the last tombstone. Every agent stands at its own provider's prices. A worst
session is the dearest one at its end, a worst turn the most that any session had cost by any turn but its first six;
faults are in both.

"""

IDEAL_NOTE = """

Not made again by the provider's bill: {parts}. There the whole beginning of the last request counts as cached, as
`ctxgc replay --bill ideal` has it."""

AIMS_NOTE = """Costs are percent of doing nothing at faults per 100 turns. The first four rows are out of fold, with the
Φ that each fold chose on the others; the next two too, but with the Φ that ships (behind them what the folds' own Φ
came to); the rest is what `ctxgc replay` says of what ships. The numbers that the aims start from were measured on
other sessions of Claude Code. At the Φ that ships, with weights of the other folds, tool results cost {shipped}.{ideal}

"""

FRONTIER_NOTE = """Every point of a line is a Φ, out of fold. Left is fewer faults, down is cheaper.

"""

FOLD_NOTE = """Five folds by session. Weights and Φ were chosen on four, the row was played on the fifth: Φ is the
least of a short list at which, in both scopes, at most 1.5 faults and 0.95 view faults come on the four. What
is played to choose it has weights that saw neither it nor the fifth fold. Intervals are 95 %, bootstrapped over
sessions; sums over sessions, so long ones count more. "goes: all" includes tool inputs and old thinking.

"""

BOUNDS_NOTE = """Percent of doing nothing. The same pacer with certain knowledge of every later use says what prediction
is worth; a policy that drops each body right after its last use says what the schedule is worth; no policy whatever
costs less than the certified bound.

"""

REREADS = """
## Reading again what was evicted

A view fault is a read of lines whose newest view is out: {views:.2f} in 100 turns, out of fold at the Φ that ships.
Until the weights were fitted to views, an edit counted as a view of every line of its file; by that count it is
{explicit:.2f}, where 0.3 was aimed at, and reads of the very range of a file that was read and evicted come to
{same:.2f}. At equal view faults the fit to views, with what is current and what a root names, costs 1 to 2.5 points
less with a 5-minute cache. A dearer fault brings the first below 0.3 too, for three points of cost
([the frontier](#where-the-frontier-lies)). It was not chosen, for the recordings say that little of it is a matter of
eviction: their agents read again {rereads:.1f} times in 100 turns lines that stood **in front of them**, after an edit,
to be sure, to quote. A replay is open loop. It cannot tell which of these would have been read anyway, and counts every
one whose copy had left: {part:.0f} % of them. Where no other read of the file was left in the window either,
{blind:.2f} remain. A policy that is never wrong, and has no fault at all, comes to {liveness:.1f}.
"""

TRIED = """
## Tried without gain

- The tool `wait`, the number of touches and the logarithm of the turn as features of the estimate; the live rare words
  and lines of a body, later edits of it, how long file and folder were
  left alone, user texts since its birth, references to it, a failed call, the sort of command: better by likelihood,
  the same frontier. Two paid: that a command only names a file, and how often the file had been named before. At equal
  cost they take a fifth of the faults.
- Fewer recent turns than two: cheaper by half a point, and on unseen sessions single ones at 104 to 106 %, faults paid.
- Taking a twentieth of a session's turns for sure to come: 0.1 to 0.5 points cheaper, and sessions of other agents at
  103 %.
- Pages of 1,500 tokens in place of whole results, [left out for now](../decisions/0025-whole-results-not-pages.md).
- Horizons of 15 and 28 turns in place of 20 (5-minute cache); 35 with the 1-hour cache was a little worse than 25.
- Requiring a cut to beat its rewrite by nothing instead of a quarter: the same frontier.
- References that keep a body by force, or are followed to any depth: more reads again
  ([0047](../decisions/0047-references-weigh-and-do-not-keep.md)).
- A label of "used again" alone: counting "read again" as well lowered explicit re-reads by a third at the same cost.
- Looking at every turn: at most 0.4 points cheaper, for three times the work.
- Dials of their own for `openai` and `subscription`: at each Φ from 20 to 36 k, the two prices are within 0.9 points
  and 0.1 faults of each other, and 28 k is the least that leaves room below 1.5 faults on unseen sessions (72.5 % at
  1.02 and 73.2 % at 1.00; 20 k has 1.35 and 1.33). Dearer writes and cheaper reads did pay: 16 k from GPT-5.6 on
  (76.3 % at 0.98, not 79.2 % at 0.59), 8 k from GPT-6.1 on (83.2 % at 0.55, not 88.1 % at 0.24). All of these with
  the weights that ship.
- Tombstones that keep some lines of a body: the best 60 tokens (the rarest identifiers) would have served 7.5 % of
  later uses, 150 tokens (definitions) 11.7 %. As many tokens in whole bodies, chosen by the estimate, serve 12.9 % and
  22 %.
- Better guesses of what is needed next, [without a cache](#prediction-without-a-cache).

### Prediction without a cache

What is known at a turn was added to the estimate in three groups, fitted on four folds and played on the fifth, all
bodies, beside the shipped terms fitted the same way. *Survival and phase*: a chance by sort of tool and age, 48 steps,
and the parts of the last eight turns that read, edit and test, by sort of tool. *Edit loop*: how often the body's file
was touched and edited lately, when the file is due, what came after the files touched last, files that a failing test
names, folders of the last edits. *Likeness*: words and path parts that the body shares with the texts, calls and
results of the last two turns and with the user's text, weighed by rarity. The new terms are shrunk a hundred times as
strongly as those that ship. A point is one percent of doing nothing, the mean over 0.2 to 0.95 view faults, and over
0.8 to 2 faults, in 100 turns; intervals are paired over sessions, curves drawn anew.

| added | log loss, thousandths | AUC | points at equal view faults | points at equal faults |
|---|---|---|---|---|
| nothing | 155.9 | 0.847 | | |
| survival and phase | +1.6 [+0.4, +2.8] | 0.843 | −0.9 [−1.7, −0.2] | +0.3 [−0.6, +0.9] |
| edit loop | +0.3 [−0.6, +1.1] | 0.846 | −0.2 [−1.3, +0.6] | +0.2 [−0.6, +0.7] |
| likeness | 0.0 [−0.9, +1.0] | 0.848 | +0.2 [−0.5, +0.9] | −0.1 [−1.2, +0.6] |
| all three | +2.2 [+0.6, +3.6] | 0.843 | −0.2 [−2.0, +1.1] | +0.8 [−1.1, +1.8] |
| boosted trees on the shipped terms | +7.0 [+1.9, +13.5] | 0.824 | | |

No group pays clearly. Survival and phase come nearest, and may pay with more sessions to learn from: at equal view
faults their interval leaves out 0 (shrunk like the rest too: −1.4 [−2.5, −0.3], log loss +5.3), and fitted to two
resamples of the training sessions, beside the shipped terms of the same resample, they come to −0.8 [−1.8, +0.1] and
−1.6 [−2.8, −0.3]; with a 5-minute cache to −0.9 [−2.2, +0.1]. But the gain is not there where Φ ships (−0.2 [−0.7,
+0.5] at 0.31 view faults), at the 1.2 faults of that neighbourhood the group costs 0.7 points more [+0.1, +1.5], the
likelihood is worse on sessions that the fit did not see, and with the other groups nothing is left. Either half alone,
shrunk like the rest, comes to −0.2 [−1.4, +0.8] and −0.5 [−1.5, +0.6]. More terms learn sessions, not bodies: trees
lose even on the eighteen terms that ship. Resamples of the training sessions move the points of the shipped terms
themselves by +0.5, +0.9 and +1.4, as far as any group does.

## What is left

With a 5-minute cache and all bodies, knowing every later use would save this pacer another {prediction:.1f} points. A
schedule that drops each body at once, without a fault, stands {schedule:.1f} points {beyond} that: each drop loses what
the provider's cache held behind it. Without a cache it
is prediction alone: {uncached:.1f} points. Codex is where it shows, and its few long sessions make wide intervals.
Attachments, which a daemon evicts as it ships, are not played: transcripts say too little of them.

What shared words cannot tell, a small language model was asked: [the judge](judge.md).
"""

MADE = """
## Made again by

```sh
export CTXGC_CORPUS=…                                              # a folder with claude_code/ and codex/
python -m perf.tune --json tune.json                               # fit, five folds: a minute or two
ctxgc replay $CTXGC_CORPUS/claude_code $CTXGC_CORPUS/codex --json --price cache_5m   # the same with cache_1h, openai …
python -m perf.bench_recordings --record                           # without our breakpoint, and with an unaware pacer
python -m perf.policy_page --take tune.json cache_5m.json …        # this page
```

A replay of every policy takes a minute; its output and that of the other prices go into files. The
numbers lie in `perf/policy.json`; the page and its drawings are written from them.
"""
