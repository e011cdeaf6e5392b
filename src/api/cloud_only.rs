//! What the cloud's documentation has and no host can do: it says so instead of "no such path". Pure.

/// Beginnings of paths below the account, and where that is kept.
const KEPT: &[(&str, &str)] = &[
    ("account/GetUser", "Accounts are kept in the cloud."),
    ("account/GetGroups", "Accounts are kept in the cloud."),
    (
        "account/GetStatistics",
        "Statistics of the account are kept in the cloud; printers/GetCounters has those of each printer.",
    ),
    ("account/settings/", "Accounts are kept in the cloud."),
    ("bed_types/", "Types of beds are kept in the cloud."),
    ("courses/", "Courses are kept in the cloud."),
    ("custom_fields/", "Custom fields are kept in the cloud."),
    ("filament/", "The stock of filament is kept in the cloud."),
    (
        "files/",
        "Folders are kept in the cloud; this host has files/Upload, files/ListExisting and files/GetAnalysis.",
    ),
    (
        "gcode_macros/",
        "Macros and snippets are changed in the configuration file of this host.",
    ),
    ("groups/", "Groups of printers are kept in the cloud."),
    (
        "maintenance/",
        "Maintenance is planned in the cloud; printers/GetCounters and printers/MarkService are here.",
    ),
    (
        "oauth2/",
        "OAuth is the cloud's; make a key with \"layerd key create NAME\".",
    ),
    ("partner/", "Companies are kept in the cloud."),
    (
        "printers/Delete",
        "Printers are in the configuration file of this host; in the cloud they are deleted there.",
    ),
    ("printers/GetBedTypes", "Types of beds are kept in the cloud."),
    ("printers/OneClickPrint", "The queue is kept in the cloud."),
    (
        "printers/SetOutOfOrder",
        "What is out of order is kept in the cloud.",
    ),
    ("printers/ai/", "Failures are looked for in the cloud."),
    (
        "printers/autoprint/",
        "The list of methods is kept in the cloud; this host clears beds with the lines of its configuration.",
    ),
    (
        "printers/settings/",
        "Settings of the account are kept in the cloud; those of printers are in the configuration file of this host.",
    ),
    ("queue/", "The queue is kept in the cloud."),
    ("slicer/", "Profiles of slicers are kept in the cloud."),
    ("tags/", "Tags are kept in the cloud."),
    ("users/", "Users are kept in the cloud."),
];

/// Why a path is not here, where the cloud has it.
pub fn words(path: &str) -> Option<&'static str> {
    let rest = path.strip_prefix("/api/").or_else(|| path.strip_prefix('/'))?;
    let (account, rest) = rest.split_once('/')?;
    account.parse::<i64>().ok()?;
    KEPT.iter()
        .find(|(begin, _)| rest.starts_with(begin))
        .map(|(_, words)| *words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_account_stands_before_and_api_may() {
        assert!(words("/0/queue/GetItems").is_some_and(|w| w.contains("queue")));
        assert_eq!(words("/api/7/queue/GetItems"), words("/0/queue/GetItems"));
        for other in [
            "/queue/GetItems",
            "/x/queue/GetItems",
            "/0/printers/Fly",
            "/0",
            "/",
            "",
        ] {
            assert_eq!(words(other), None, "{other}");
        }
    }
}
