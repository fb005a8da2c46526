//! What a person is shown before approving: looked up on a connection of Tagout's own, in a read-only
//! transaction, in two seconds at most. Facts come first, guesses say that they are; whatever could not
//! be looked at says so, and then there is no [`Bound`].

mod whole;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::known::counts_safely;
use super::reach::{Asking, Bindings, Reach, Touch, all_rows, foreign_keys};
use super::tables::{Table, tables};
use super::target::{Blow, OWN_PATH, blows, cell, look_in, number, unseen, with_inheritors};
use super::words::{Count, ago};
use super::{Bound, BoundTable, DamageError, Fate, Planned, Preview};
use crate::{Ask, Rows, ServerError};

/// All of a preview.
const WHOLE: Duration = Duration::from_secs(2);
/// Beyond which a database that does not even say that it took too long is given up.
const GIVEN_UP: Duration = Duration::from_millis(2_500);
/// Waiting for somebody else's lock.
const LOCK: &str = "300ms";
/// Of the whole, what counting rows of the target itself may take.
const COUNTING: Duration = Duration::from_millis(900);

/// What `planned` would take, looked up on `ask`, a connection of Tagout's own to the same database,
/// logged in as the same role and in no transaction. Never waits for more than some two seconds; after
/// it, the connection is in no transaction, or gone.
pub async fn preview(ask: &mut impl Ask, planned: &Planned<'_>) -> Preview {
    let looked = tokio::time::timeout(GIVEN_UP, async {
        let looked = look(ask, planned).await;
        let _ = ask.ask("ROLLBACK").await;
        looked
    });
    let why = match looked.await {
        Ok(Ok(preview)) => return preview,
        Ok(Err(error)) => reason(&error),
        Err(_) => "the database did not answer within 2 s".to_owned(),
    };
    Preview {
        lines: vec![
            format!("cannot be previewed: {why}"),
            "What it would remove or overwrite is unknown; it may be everything.".to_owned(),
        ],
        bound: None,
    }
}

/// What the server says of time and locks, in words.
fn reason(error: &DamageError) -> String {
    match error {
        DamageError::Server(ServerError::Said { code, .. }) if code == "55P03" => {
            "another transaction holds a lock on what it is about".to_owned()
        }
        DamageError::Server(ServerError::Said { code, .. }) if code == "57014" => {
            "looking took longer than 2 s".to_owned()
        }
        other => other.to_string(),
    }
}

async fn look(ask: &mut impl Ask, planned: &Planned<'_>) -> Result<Preview, DamageError> {
    let until = Instant::now() + WHOLE;
    ask.ask("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        .await?;
    ask.ask(&format!(
        "SET LOCAL statement_timeout = {}; SET LOCAL lock_timeout = '{LOCK}'; SET LOCAL row_security = off",
        WHOLE.as_millis()
    ))
    .await?;
    let path = match planned.search_path {
        Some(path) => path.to_owned(),
        None => {
            let rows = ask
                .ask("SELECT pg_catalog.current_setting('search_path')")
                .await?;
            rows.single().unwrap_or_default().to_owned()
        }
    };
    let blows = blows(ask, planned, &path).await?;
    let mut view = View {
        ask,
        until,
        path,
        planned,
        lines: Vec::new(),
        bound: BTreeMap::new(),
        goes_along: BTreeSet::new(),
        unkept: None,
        remarked: BTreeSet::new(),
    };
    for blow in &blows {
        view.blow(blow).await?;
    }
    if view.lines.is_empty() {
        view.lines
            .push("It removes and overwrites nothing that is there now.".to_owned());
    } else {
        view.backup().await?;
    }
    let View {
        lines,
        bound,
        goes_along,
        unkept,
        ..
    } = view;
    Ok(Preview {
        lines,
        bound: Some(Bound {
            tables: bound.into_values().collect(),
            goes_along: goes_along.into_iter().collect(),
            unkept,
        }),
    })
}

struct View<'a, A> {
    ask: &'a mut A,
    until: Instant,
    /// Where the client's names are looked up.
    path: String,
    planned: &'a Planned<'a>,
    lines: Vec<String>,
    bound: BTreeMap<u32, BoundTable>,
    /// See [`Bound::goes_along`].
    goes_along: BTreeSet<u32>,
    /// See [`Bound::unkept`].
    unkept: Option<String>,
    /// Tables whose triggers and so on have been told.
    remarked: BTreeSet<u32>,
}

impl<A: Ask> View<'_, A> {
    async fn blow(&mut self, blow: &Blow) -> Result<(), DamageError> {
        match blow {
            Blow::Rows {
                table,
                rows,
                removes,
                reads,
            } => {
                let sets = rows.as_ref().ok().and_then(|rows| rows.sets.clone());
                let touch = match (rows, removes) {
                    (Ok(_), true) => Touch::removed(),
                    (Ok(_), false) => Touch::updates(sets),
                    // Nobody knows which: whatever it may do.
                    (Err(_), removes) => Touch::anything(*removes),
                };
                self.rows(*table, rows, touch, reads).await
            }
            Blow::Empties { tables, cascade } => self.empties(tables, *cascade).await,
            Blow::Drops { objects, cascade } => self.drops(objects, *cascade).await,
            Blow::Reshapes { table, how } => self.reshapes(*table, how).await,
        }
    }

    /// Asks what may take too long, in at most this time; in a savepoint, so that one can go on.
    async fn within(
        &mut self,
        most: Duration,
        asking: &Asking,
    ) -> Result<Option<Rows>, DamageError> {
        let left = self
            .until
            .saturating_duration_since(Instant::now())
            .min(most);
        if left.is_zero() {
            return Ok(None);
        }
        self.ask
            .ask(&format!(
                "SAVEPOINT tagout; SET LOCAL statement_timeout = {}",
                left.as_millis().max(1)
            ))
            .await?;
        let path = self.path.clone();
        look_in(self.ask, &path).await?;
        let answer = asking.ask(self.ask).await;
        match answer {
            Ok(rows) => {
                look_in(self.ask, OWN_PATH).await?;
                self.ask
                    .ask(&format!(
                        "RELEASE SAVEPOINT tagout; SET LOCAL statement_timeout = {}",
                        WHOLE.as_millis()
                    ))
                    .await?;
                Ok(Some(rows))
            }
            Err(ServerError::Said { code, .. }) if code == "57014" => {
                // With it, what was set behind it.
                self.ask
                    .ask("ROLLBACK TO SAVEPOINT tagout; RELEASE SAVEPOINT tagout")
                    .await?;
                if let Some(behind) = asking.behind() {
                    self.ask.ask(behind).await?;
                }
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn rows(
        &mut self,
        target: u32,
        rows: &Result<tagout_catalog_sql::RowQuery, String>,
        touch: Touch,
        reads: &[u32],
    ) -> Result<(), DamageError> {
        let heirs = with_inheritors(self.ask, &[target]).await?;
        let facts = tables(self.ask, &heirs).await?;
        let table = facts
            .get(&target)
            .ok_or_else(|| unseen("its table is gone"))?;
        if !matches!(table.kind, 'r' | 'p') {
            return Err(DamageError::Unseen(format!(
                "{} is a {}; what a change of it changes behind it is not looked up",
                table.name,
                table.word()
            )));
        }
        if let Some(rule) = table
            .remarks
            .iter()
            .find(|remark| remark.starts_with("rule "))
        {
            return Err(DamageError::Unseen(format!("{}: {rule}", table.name)));
        }
        let keys = foreign_keys(self.ask).await?;
        let reach = Reach::of(self.ask, target, touch.clone(), &keys).await?;
        let mut read: Vec<u32> = reads.to_vec();
        read.extend(&heirs);
        read.extend(reach.touched.keys());
        counts_safely(self.ask, &read).await?;
        let (query, bindings, is_all) = match rows {
            Ok(rows) => (
                rows.query.clone(),
                Bindings::of(rows, self.planned.parameters)?,
                false,
            ),
            Err(why) => {
                self.lines.push(format!(
                    "which rows of {} it is about cannot be told beforehand ({why}): what follows is all that it may touch",
                    table.name
                ));
                (all_rows(&table.name), None, true)
            }
        };
        let doing = match (touch.removes, is_all) {
            (true, false) => "removed",
            (false, false) => "changed",
            (true, true) => "removed or changed",
            (false, true) => "changed, if all of them are",
        };
        let direct = format!("SELECT r.t, pg_catalog.count(*) FROM ({query}) r(t, c) GROUP BY r.t");
        let counted = self
            .within(COUNTING, &Asking::new("", &direct, bindings.as_ref()))
            .await?;
        let (total, by_table) = match &counted {
            Some(rows) => {
                let by_table = counts(rows)?;
                let sum = by_table
                    .values()
                    .fold(0_u64, |sum, rows| sum.saturating_add(*rows));
                (Count::Exact(sum), Some(by_table))
            }
            None => (
                Count::About(self.estimate(&query, bindings.as_ref()).await?),
                None,
            ),
        };
        self.lines.push(format!(
            "{} {} (owner {}, {} with indexes): {} {doing}{}",
            table.word(),
            table.name,
            table.owner,
            table.size,
            total.words(),
            self.of_all(table, total).unwrap_or_default(),
        ));
        self.remark(table);
        for heir in facts.values().filter(|heir| heir.has_rows()) {
            let count = match &by_table {
                Some(by_table) => Count::Exact(by_table.get(&heir.oid).copied().unwrap_or(0)),
                None => total,
            };
            self.cover(heir, count, touch.fate());
        }
        if reach.spreads() {
            self.spread(&reach, &query, bindings.as_ref(), touch.removes, &facts)
                .await?;
        }
        for key in &reach.refusing {
            self.lines.push(format!(
                "the constraint {} of {} refuses to remove rows of {} that it refers to",
                key.name, key.child_name, key.parent_name
            ));
        }
        Ok(())
    }

    /// "of about 100": how much of the table that is.
    fn of_all(&self, table: &Table, count: Count) -> Option<String> {
        let Count::Exact(rows) = count else {
            return None;
        };
        (table.about > rows).then(|| format!(", of about {} in it", table.about))
    }

    /// What goes with the rows, by foreign keys.
    async fn spread(
        &mut self,
        reach: &Reach,
        query: &str,
        bindings: Option<&Bindings>,
        removes: bool,
        targets: &BTreeMap<u32, Table>,
    ) -> Result<(), DamageError> {
        let all = reach.query(query, removes);
        let question = format!(
            "SELECT l.t, l.f, pg_catalog.count(*) FROM ({all}) l(t, c, f) GROUP BY l.t, l.f"
        );
        let counted = self
            .within(WHOLE, &Asking::new("", &question, bindings))
            .await?;
        let Some(counted) = counted else {
            let spread =
                with_inheritors(self.ask, &reach.spread_to().into_iter().collect::<Vec<_>>())
                    .await?;
            let facts = tables(self.ask, &spread).await?;
            self.lines.push("rows that go along by foreign keys could not be counted in the time; at most all of these:".to_owned());
            for table in facts.values().filter(|table| table.has_rows()) {
                let count = Count::About(table.about);
                self.lines
                    .push(format!("  {}: {}", table.name, count.words()));
                self.remark(table);
                self.cover(table, count, Fate::Removed);
            }
            return Ok(());
        };
        let mut found: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
        for row in &counted.rows {
            let rows: u64 = number(row, 2)?;
            let (removed, changed) = found.entry(number(row, 0)?).or_default();
            match cell(row, 1) {
                "d" => *removed += rows,
                _ => *changed += rows,
            }
        }
        let facts = tables(self.ask, &found.keys().copied().collect()).await?;
        for (oid, (removed, changed)) in found {
            let Some(table) = facts.get(&oid) else {
                return Err(unseen("a table went while it was looked at"));
            };
            let already = self.bound.get(&oid).map_or(0, |bound| bound.most);
            let is_target = targets.contains_key(&oid);
            let mut said = Vec::new();
            // Of the target what was counted already is not said again.
            let more = match (is_target, removes) {
                (true, true) => (removed.saturating_sub(already), changed),
                (true, false) => (removed, changed.saturating_sub(already)),
                (false, _) => (removed, changed),
            };
            if more.0 > 0 {
                said.push(format!("{} removed", Count::Exact(more.0).words()));
            }
            if more.1 > 0 {
                said.push(format!("{} changed", Count::Exact(more.1).words()));
            }
            if !said.is_empty() {
                self.lines.push(format!(
                    "  with them by foreign keys, {}: {}",
                    table.name,
                    said.join(", ")
                ));
                self.remark(table);
            }
            let fate = if removed > 0 {
                Fate::Removed
            } else {
                Fate::Changed
            };
            self.cover(table, Count::Exact(removed.saturating_add(changed)), fate);
        }
        Ok(())
    }

    /// The planner's guess. It runs nothing that [`counts_safely`] has not excluded.
    async fn estimate(
        &mut self,
        query: &str,
        bindings: Option<&Bindings>,
    ) -> Result<u64, DamageError> {
        let asking = Asking::new("EXPLAIN (FORMAT JSON) ", query, bindings);
        let plan = self
            .within(WHOLE, &asking)
            .await?
            .ok_or_else(|| unseen("looking took longer than 2 s"))?;
        let plan: serde_json::Value = plan
            .single()
            .and_then(|plan| serde_json::from_str(plan).ok())
            .ok_or_else(|| unseen("the server's plan could not be read"))?;
        plan.pointer("/0/Plan/Plan Rows")
            .and_then(serde_json::Value::as_u64)
            .ok_or_else(|| unseen("the server's plan has no number of rows"))
    }

    fn remark(&mut self, table: &Table) {
        if self.remarked.insert(table.oid) {
            let remarks = table
                .remarks
                .iter()
                .map(|remark| format!("  {}: {remark}", table.name));
            self.lines.extend(remarks.collect::<Vec<_>>());
        }
    }

    /// Lets an approval cover this much of a table.
    fn cover(&mut self, table: &Table, count: Count, fate: Fate) {
        let covered = self.bound.entry(table.oid).or_insert_with(|| BoundTable {
            oid: table.oid,
            name: table.name.clone(),
            most: 0,
            is_exact: true,
            fate,
            shape: table.shape.clone(),
        });
        // A row that two statements of a text are about counts for both.
        covered.most = match covered.fate == fate {
            true => covered.most.max(count.most()),
            false => covered.most.saturating_add(count.most()),
        };
        covered.is_exact &= matches!(count, Count::Exact(_));
        covered.fate = covered.fate.max(fate);
    }

    /// When something was last archived: the only backup that a database itself knows of.
    async fn backup(&mut self) -> Result<(), DamageError> {
        let rows = self
            .ask
            .ask(
                "SELECT CASE WHEN current_setting('archive_mode') <> 'off' THEN
                   extract(epoch FROM now() - last_archived_time)::bigint END FROM pg_stat_archiver",
            )
            .await?;
        let line = match rows.single().and_then(|age| age.parse::<u64>().ok()) {
            Some(age) => format!(
                "the server archived a part of its log {} ago; whether there is a backup to go with it, it does not know",
                ago(Duration::from_secs(age))
            ),
            None => "age of the last backup: unknown".to_owned(),
        };
        self.lines.push(line);
        Ok(())
    }
}

fn counts(rows: &Rows) -> Result<BTreeMap<u32, u64>, ServerError> {
    rows.rows
        .iter()
        .map(|row| Ok((number(row, 0)?, number(row, 1)?)))
        .collect()
}
