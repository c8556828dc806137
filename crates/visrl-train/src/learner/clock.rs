use std::time::Instant;

/// Measures phases that follow each other.
pub(crate) struct Clock(Instant);

impl Clock {
    /// Starts with the first phase.
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// Ends a phase: adds its seconds to a sum.
    pub(crate) fn lap(&mut self, seconds: &mut f64) {
        *seconds += self.0.elapsed().as_secs_f64();
        self.0 = Instant::now();
    }
}
