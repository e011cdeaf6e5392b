//! Objects of the running print: from what a person calls them to the ids that a printer skips.

use std::time::Duration;

use super::handle::{AgentHandle, PrinterHandle};
use crate::printer::outcome::Refusal;

/// How long the analysis of the file may take: it was made at the start and is kept.
const LOOK_LIMIT: Duration = Duration::from_secs(30);

/// Objects named in a refusal at most.
const SHOWN_MAX: usize = 12;

/// An object of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its number.
    pub id: u32,
    /// What people call it.
    pub name: String,
}

/// The objects of the file that prints; `None` when nobody here knows the file (a print that was
/// started at the printer).
pub async fn of_print(agent: &AgentHandle, printer: &PrinterHandle) -> Option<Vec<Known>> {
    let snapshot = printer.snapshot();
    let job = snapshot.state.job.as_ref()?;
    let uid = job.uid;
    let look = async {
        let record = agent.store().job(uid).await.ok()??;
        agent
            .pool()
            .analysis_of(record.sha256.as_deref()?, record.plate)
            .await
            .ok()
    };
    let Some(analysis) = tokio::time::timeout(LOOK_LIMIT, look).await.ok().flatten() else {
        // A print of another host: its printer may know the objects.
        let told = |o: &crate::printer::model::PrintObject| Known {
            id: o.id,
            name: o.name.clone(),
        };
        return Some(job.objects.iter().map(told).collect()).filter(|all: &Vec<Known>| !all.is_empty());
    };
    let known = |o: &crate::gcode::analysis::Object| Known {
        id: o.id,
        name: o.name.clone(),
    };
    Some(analysis.objects.iter().map(known).collect())
}

/// The ids that are meant. What is skipped already may be named again; one object has to stay.
///
/// # Errors
/// Unknown names, files without objects, and all objects at once.
pub fn ids(objects: Option<&[Known]>, skipped: &[u32], wanted: &[String]) -> Result<Vec<u32>, Refusal> {
    let Some(objects) = objects else {
        // Nobody can check the numbers of a file that is not here; the printer will.
        return wanted
            .iter()
            .map(|text| text.parse().map_err(|_| unknown(text, &[])))
            .collect();
    };
    if objects.is_empty() {
        return Err(Refusal::new(
            "refused/no-objects",
            "No objects found in the print job",
        ));
    }
    let mut ids = Vec::with_capacity(wanted.len());
    for text in wanted {
        let by_number = text
            .parse()
            .ok()
            .and_then(|n: u32| objects.iter().find(|o| o.id == n));
        let found = by_number.or_else(|| objects.iter().find(|o| o.name == *text));
        let id = found.ok_or_else(|| unknown(text, objects))?.id;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    if objects
        .iter()
        .all(|o| ids.contains(&o.id) || skipped.contains(&o.id))
    {
        return Err(Refusal::new(
            "refused/all-objects",
            "Cannot skip all objects: at least one must stay. Cancel the print instead.",
        ));
    }
    Ok(ids)
}

fn unknown(text: &str, objects: &[Known]) -> Refusal {
    let text: String = text.chars().take(80).collect();
    let known: Vec<String> = objects
        .iter()
        .take(SHOWN_MAX)
        .map(|o| format!("{} ({})", o.id, o.name))
        .collect();
    let hint = if known.is_empty() {
        "The file of this print is not here, so objects go by number only.".to_owned()
    } else {
        format!("There are {}.", known.join(", "))
    };
    Refusal::new(
        "refused/unknown-object",
        format!("There is no object {text:?} in this print. {hint}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plate() -> Vec<Known> {
        let known = |(id, name): (u32, &str)| Known {
            id,
            name: name.to_owned(),
        };
        [(0, "cube"), (1, "cone"), (7, "2")].map(known).to_vec()
    }

    fn ask(skipped: &[u32], wanted: &[&str]) -> Result<Vec<u32>, &'static str> {
        let wanted: Vec<String> = wanted.iter().map(|w| (*w).to_owned()).collect();
        ids(Some(&plate()), skipped, &wanted).map_err(|r| r.code)
    }

    #[test]
    fn numbers_and_names_are_found_and_repeats_are_no_mistake() {
        assert_eq!(ask(&[], &["cone", "1", "0"]), Ok(vec![1, 0]));
        assert_eq!(ask(&[], &["2"]), Ok(vec![7]), "a name that looks like a number");
        assert_eq!(ask(&[1], &["1"]), Ok(vec![1]));
        assert_eq!(ask(&[], &["sphere"]), Err("refused/unknown-object"));
    }

    #[test]
    fn one_object_has_to_stay_counting_what_is_skipped_already() {
        assert_eq!(ask(&[], &["0", "1"]), Ok(vec![0, 1]));
        assert_eq!(ask(&[7], &["0", "1"]), Err("refused/all-objects"));
        // What is not on the plate keeps nothing alive.
        assert_eq!(ask(&[7, 99], &["0", "1"]), Err("refused/all-objects"));
    }

    #[test]
    fn the_documented_words() {
        let said = |objects: Option<&[Known]>, wanted: &str| {
            ids(objects, &[], &[wanted.to_owned()])
                .expect_err("refused")
                .message
        };
        assert_eq!(said(Some(&[]), "1"), "No objects found in the print job");
        assert!(said(Some(&plate()[..1]), "0").starts_with("Cannot skip all objects"));
        assert!(said(None, "cube").contains("by number only"));
        assert_eq!(ids(None, &[], &["3".to_owned()]), Ok(vec![3]));
    }
}
