//! Where the time of a run went, and what waited for what where samples are made ahead.

use visrl_train::StepMetrics;

use super::page::Table;

/// The seconds of all steps, by what they went to.
pub(super) fn waiting(metrics: &[StepMetrics]) -> Option<Table> {
    let sum = |of: fn(&StepMetrics) -> f64| metrics.iter().map(of).sum::<f64>();
    let total = sum(|step| step.seconds.total());
    if total <= 0.0 {
        return None;
    }
    let row = |name: &str, seconds: f64| {
        let share = format!("{:.0} %", 100.0 * seconds / total);
        vec![name.to_owned(), format!("{seconds:.1}"), share]
    };
    let ahead = metrics.iter().any(|step| step.seconds.engine.is_some());
    let sampling = match ahead {
        true => "the learner waited for samples",
        false => "sampling",
    };
    let mut rows = vec![
        row(sampling, sum(|step| step.seconds.rollout)),
        row("scoring", sum(|step| step.seconds.reward)),
        row("learning", sum(|step| step.seconds.learn)),
    ];
    let mut note = String::new();
    if ahead {
        let worked = sum(|step| step.seconds.engine.unwrap_or(0.0));
        rows.push(row("meanwhile, the engine sampled", worked));
        let idle = sum(|step| step.seconds.engine_idle.unwrap_or(0.0));
        rows.push(row("meanwhile, the engine waited for policies", idle));
        let in_turn = worked + sum(|step| step.seconds.reward + step.seconds.learn);
        let staleness = metrics.iter().map(|step| step.staleness).max().unwrap_or(0);
        note = format!(
            "Samples were made by a policy up to {staleness} optimizer steps older. One after the other \
             the same work is {in_turn:.1} s, of which {:.0} % were saved.",
            100.0 * (1.0 - total / in_turn.max(total))
        );
    }
    Some(Table {
        title: "Where the time went".into(),
        head: ["", "seconds", "of all"].map(String::from).to_vec(),
        rows,
        note,
    })
}

#[cfg(test)]
mod tests {
    use visrl_train::Seconds;

    use super::*;

    #[test]
    fn what_waited_is_told_where_samples_are_made_ahead() {
        let mut step = StepMetrics {
            seconds: Seconds {
                rollout: 1.0,
                reward: 0.5,
                learn: 2.5,
                ..Seconds::default()
            },
            ..StepMetrics::default()
        };
        let table = waiting(&[step.clone(), step.clone()]).unwrap();
        assert_eq!(table.rows[0], ["sampling", "2.0", "25 %"]);
        assert_eq!((table.rows.len(), table.note.as_str()), (3, ""));
        (step.seconds.engine, step.seconds.engine_idle) = (Some(3.0), Some(0.5));
        step.staleness = 1;
        let table = waiting(&[step]).unwrap();
        assert_eq!(
            table.rows[3],
            ["meanwhile, the engine sampled", "3.0", "75 %"]
        );
        assert!(
            table.note.contains("6.0 s, of which 33 % were saved"),
            "{}",
            table.note
        );
        assert!(waiting(&[]).is_none());
    }
}
