//! Attention of some queries to keys and values that lie anywhere in memory.

use crate::Heads;
use crate::exp::exp;
use crate::product::{Matrix, Threads, product};
use crate::slices;

/// Rows of numbers at equal distances, the heads of a row side by side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows<'a> {
    pub(crate) data: &'a [f32],
    /// From the start of a row to the start of the next.
    pub(crate) stride: usize,
}

impl<'a> Rows<'a> {
    pub(crate) fn skip(self, rows: usize) -> Self {
        let data = &self.data[(rows * self.stride).min(self.data.len())..];
        Self { data, ..self }
    }

    /// One head of the first rows, `[rows, dim]`.
    fn head(self, rows: usize, head: usize, dim: usize) -> Matrix<'a> {
        Matrix::new(&self.data[head * dim..], [rows, dim], [self.stride, 1])
    }
}

/// Keys and values of `len` tokens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part<'a> {
    pub(crate) keys: Rows<'a>,
    pub(crate) values: Rows<'a>,
    pub(crate) len: usize,
}

/// Neighbouring queries of one sequence.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run<'a> {
    /// How many.
    pub(crate) count: usize,
    /// What they see of their own sequence.
    pub(crate) part: Part<'a>,
    /// Whether the last query stands at the last key and each sees what is before it; else all see
    /// all.
    pub(crate) causal: bool,
    /// The place of the part's first row among the rows that get gradients.
    pub(crate) first: usize,
}

impl Run<'_> {
    /// The keys of its own part that query `index` sees.
    fn visible(&self, index: usize) -> usize {
        match self.causal {
            true => self.part.len - self.count + index + 1,
            false => self.part.len,
        }
    }
}

/// Neighbouring queries that share a prefix, a unit of work.
#[derive(Clone, Debug)]
pub(crate) struct Job<'a> {
    /// The first query and those after it.
    pub(crate) queries: Rows<'a>,
    /// What all queries see.
    pub(crate) shared: Option<Part<'a>>,
    /// The sequences of the queries, in order.
    pub(crate) runs: Vec<Run<'a>>,
}

/// The first columns of rows that lie `stride` apart.
fn block(of: &[f32], rows: usize, columns: usize, stride: usize) -> Matrix<'_> {
    Matrix::new(of, [rows, columns], [stride, 1])
}

/// Memory that jobs use one after another.
#[derive(Default)]
pub(crate) struct Scratch {
    queries: Vec<f32>,
    grads: Vec<f32>,
    scores: Vec<f32>,
    mixed: Vec<f32>,
}

/// The first numbers of a buffer, which grows where it has to.
fn room(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    &mut buffer[..len]
}

/// Gradients of one key head, `[rows, dim]` each.
pub(crate) struct HeadGradients {
    /// Of the queries, in the order job, query, query head.
    pub(crate) queries: Vec<f32>,
    /// Of the shared keys and values.
    pub(crate) shared: [Vec<f32>; 2],
    /// Of the sequences' own keys and values.
    pub(crate) own: [Vec<f32>; 2],
}

impl Job<'_> {
    /// The number of queries.
    pub(crate) fn tokens(&self) -> usize {
        self.runs.iter().map(|run| run.count).sum()
    }

    fn shared_len(&self) -> usize {
        self.shared.map_or(0, |part| part.len)
    }

    /// The width of a row of scores.
    fn columns(&self) -> usize {
        let own = self.runs.iter().map(|run| run.part.len).max();
        self.shared_len() + own.unwrap_or(0)
    }

    /// The number of probabilities of one key head.
    fn size(&self, heads: Heads) -> usize {
        self.tokens() * heads.per_kv() * self.columns()
    }

    /// The number of probabilities of all heads.
    pub(crate) fn probabilities(&self, heads: Heads) -> usize {
        self.size(heads) * heads.kv
    }

    /// The rows of one key head, `[tokens * per_kv, dim]`, scaled.
    fn gather(&self, from: Rows<'_>, heads: Heads, kv: usize, scale: f32, to: &mut [f32]) {
        let width = heads.per_kv() * heads.dim;
        let sources = from.data.chunks(from.stride);
        for (to, from) in to.chunks_exact_mut(width).zip(sources) {
            for (to, x) in to.iter_mut().zip(&from[kv * width..(kv + 1) * width]) {
                *to = x * scale;
            }
        }
    }

    /// For each run: its first row and its rows in the matrices of a key head.
    fn rows(&self, heads: Heads) -> impl Iterator<Item = (usize, usize, &Run<'_>)> {
        let per_kv = heads.per_kv();
        let mut row = 0;
        self.runs.iter().map(move |run| {
            let rows = run.count * per_kv;
            row += rows;
            (row - rows, rows, run)
        })
    }

    /// Writes `softmax(q k^T / sqrt(dim)) v` to `out`, `[tokens, query heads * dim]`, and the
    /// probabilities, where they are wanted, to `kept`.
    pub(crate) fn forward(
        &self,
        heads: Heads,
        scratch: &mut Scratch,
        out: &mut [f32],
        mut kept: Option<&mut [f32]>,
    ) {
        let Heads { dim, .. } = heads;
        let rows = self.tokens() * heads.per_kv();
        let (columns, shared) = (self.columns(), self.shared_len());
        let size = self.size(heads);
        let queries = room(&mut scratch.queries, rows * dim);
        let mixed = room(&mut scratch.mixed, rows * dim);
        for kv in 0..heads.kv {
            self.gather(self.queries, heads, kv, heads.scale(), queries);
            let scores = match &mut kept {
                Some(kept) => &mut kept[kv * size..(kv + 1) * size],
                None => room(&mut scratch.scores, size),
            };
            self.scores(queries, heads, kv, Threads::One, |part| part.keys, scores);
            slices::vectorized(
                #[inline(always)]
                || self.softmax(heads.per_kv(), scores),
            );
            if let Some(part) = &self.shared {
                let weights = block(scores, rows, shared, columns);
                let values = part.values.head(shared, kv, dim);
                product(weights, values, mixed, dim, false, Threads::One);
            }
            for (row, rows, run) in self.rows(heads) {
                let weights = &scores[row * columns + shared..];
                let weights = block(weights, rows, run.part.len, columns);
                let values = run.part.values.head(run.part.len, kv, dim);
                let add = self.shared.is_some();
                let mixed = &mut mixed[row * dim..];
                product(weights, values, mixed, dim, add, Threads::One);
            }
            let width = heads.per_kv() * dim;
            let all = heads.query * dim;
            for (from, to) in mixed.chunks_exact(width).zip(out.chunks_exact_mut(all)) {
                to[kv * width..(kv + 1) * width].copy_from_slice(from);
            }
        }
    }

    /// Products of rows with the keys, or the values, that they see: shared first, then own.
    fn scores(
        &self,
        rows_of: &[f32],
        heads: Heads,
        kv: usize,
        threads: Threads,
        side: impl for<'b> Fn(&Part<'b>) -> Rows<'b>,
        scores: &mut [f32],
    ) {
        let dim = heads.dim;
        let (columns, shared) = (self.columns(), self.shared_len());
        if let Some(part) = &self.shared {
            let rows = block(rows_of, rows_of.len() / dim, dim, dim);
            let keys = side(part).head(shared, kv, dim).transposed();
            product(rows, keys, scores, columns, false, threads);
        }
        for (row, rows, run) in self.rows(heads) {
            let rows = block(&rows_of[row * dim..], rows, dim, dim);
            let keys = side(&run.part).head(run.part.len, kv, dim).transposed();
            let scores = &mut scores[row * columns + shared..];
            product(rows, keys, scores, columns, false, threads);
        }
    }

    /// Turns scores into probabilities; those of keys that are not seen are 0.
    #[inline(always)]
    fn softmax(&self, per_kv: usize, scores: &mut [f32]) {
        let (columns, shared) = (self.columns(), self.shared_len());
        let mut rows = scores.chunks_exact_mut(columns.max(1));
        for run in &self.runs {
            for index in 0..run.count {
                for row in rows.by_ref().take(per_kv) {
                    let (seen, hidden) = row.split_at_mut(shared + run.visible(index));
                    hidden.fill(0.0);
                    let largest = slices::maximum(seen);
                    let sum = slices::map_and_sum(
                        seen,
                        #[inline(always)]
                        |x| exp(x - largest),
                    );
                    let scale = 1.0 / sum;
                    for x in seen {
                        *x *= scale;
                    }
                }
            }
        }
    }

    /// With `p` the probabilities, turns `d p` into the scores' gradients `p (d p - sum(p d p))`.
    #[inline(always)]
    fn softmax_backward(&self, per_kv: usize, probabilities: &[f32], grads: &mut [f32]) {
        let (columns, shared) = (self.columns(), self.shared_len());
        let both = grads.chunks_exact_mut(columns.max(1));
        let mut both = both.zip(probabilities.chunks_exact(columns.max(1)));
        for run in &self.runs {
            for index in 0..run.count {
                let seen = shared + run.visible(index);
                for (d, p) in both.by_ref().take(per_kv) {
                    let (d, hidden) = d.split_at_mut(seen);
                    hidden.fill(0.0);
                    let p = &p[..seen];
                    let dot = slices::sum2(
                        d,
                        p,
                        #[inline(always)]
                        |d, p| d * p,
                    );
                    for (d, p) in d.iter_mut().zip(p) {
                        *d = p * (*d - dot);
                    }
                }
            }
        }
    }
}

/// The gradients of one key head for jobs that share a prefix, or have none, from what `forward`
/// kept and the gradients of its results.
///
/// With P the probabilities, S the scores and O the result: `d v = P^T d O`, `d P = d O v^T`,
/// `d q = d S k` and `d k = d S^T q`. `own_rows` is the number of rows that the runs' own keys have
/// together.
pub(crate) fn backward(
    heads: Heads,
    kv: usize,
    jobs: &[(Job<'_>, &[f32], Rows<'_>)],
    own_rows: usize,
    threads: Threads,
) -> HeadGradients {
    let (dim, per_kv) = (heads.dim, heads.per_kv());
    let tokens: usize = jobs.iter().map(|(job, ..)| job.tokens()).sum();
    let shared = jobs.first().map_or(0, |(job, ..)| job.shared_len());
    let pair = |rows: usize| [(); 2].map(|()| vec![0.0; rows * dim]);
    let mut out = HeadGradients {
        queries: vec![0.0; tokens * per_kv * dim],
        shared: pair(shared),
        own: pair(own_rows),
    };
    let mut scratch = Scratch::default();
    let mut done = 0;
    for (job, kept, grads) in jobs {
        let rows = job.tokens() * per_kv;
        let (columns, size) = (job.columns(), job.size(heads));
        let probabilities = &kept[kv * size..(kv + 1) * size];
        let queries = room(&mut scratch.queries, rows * dim);
        job.gather(job.queries, heads, kv, heads.scale(), queries);
        let d_mixed = room(&mut scratch.grads, rows * dim);
        job.gather(*grads, heads, kv, 1.0, d_mixed);
        let d_scores = room(&mut scratch.scores, size);
        job.scores(d_mixed, heads, kv, threads, |part| part.values, d_scores);
        slices::vectorized(
            #[inline(always)]
            || job.softmax_backward(per_kv, probabilities, d_scores),
        );
        let d_queries = &mut out.queries[done * dim..(done + rows) * dim];
        done += rows;
        if let Some(part) = &job.shared {
            let [p, d] = [probabilities, &*d_scores].map(|of| block(of, rows, shared, columns));
            let [q, g] = [&*queries, &*d_mixed].map(|of| block(of, rows, dim, dim));
            let keys = part.keys.head(shared, kv, dim);
            product(d, keys, d_queries, dim, false, threads);
            let [d_keys, d_values] = &mut out.shared;
            product(d.transposed(), q, d_keys, dim, true, threads);
            product(p.transposed(), g, d_values, dim, true, threads);
        }
        for (row, rows, run) in job.rows(heads) {
            let (start, len) = (row * columns + shared, run.part.len);
            let [p, d] =
                [probabilities, &*d_scores].map(|of| block(&of[start..], rows, len, columns));
            let [q, g] = [&*queries, &*d_mixed].map(|of| block(&of[row * dim..], rows, dim, dim));
            let keys = run.part.keys.head(len, kv, dim);
            let add = job.shared.is_some();
            product(d, keys, &mut d_queries[row * dim..], dim, add, threads);
            let [d_keys, d_values] = &mut out.own;
            let at = run.first * dim;
            product(d.transposed(), q, &mut d_keys[at..], dim, true, threads);
            product(p.transposed(), g, &mut d_values[at..], dim, true, threads);
        }
        for x in d_queries {
            *x *= heads.scale();
        }
    }
    out
}
