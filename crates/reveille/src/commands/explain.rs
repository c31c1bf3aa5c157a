//! `reveille explain`: prints what a class means, what causes it and what to do. `reveille schema`: prints the JSON Schema.

use reveille_account::{Class, Exit, SourceError};

use crate::failure::Failure;
use crate::printer::Printer;
use reveille_view::Role;

pub(crate) fn run(class: Option<&str>, printer: &Printer) -> Result<Exit, Failure> {
    let Some(name) = class else {
        for class in Class::ALL {
            printer.data(&format!("{class:<22} {:<12} {}", class.status(), class.meaning()))?;
        }
        return Ok(Exit::Success);
    };
    let class: Class = name.parse().map_err(|error| {
        let near = SourceError::nearest(name, Class::ALL.iter().map(|class| class.as_str()));
        let hint = near.map_or_else(
            || "`reveille explain` lists all classes".to_owned(),
            |near| format!("did you mean `{near}`?"),
        );
        Failure::usage(format!("{error}; {hint}"))
    })?;
    printer.data(&format!(
        "{} ({})",
        printer.tone_out(class.as_str(), Role::Strong),
        class.status()
    ))?;
    printer.data(&format!("  means   {}", class.meaning()))?;
    printer.data(&format!("  causes  {}", class.causes()))?;
    printer.data(&format!("  next    {}", class.next()))?;
    Ok(Exit::Success)
}

pub(crate) fn schema(printer: &Printer) -> Result<Exit, Failure> {
    printer.data(&schema_text()?)?;
    Ok(Exit::Success)
}

/// The JSON Schema of job files.
pub(crate) fn schema_text() -> Result<String, Failure> {
    serde_json::to_string_pretty(&reveille_job::schema())
        .map_err(|error| Failure::System(format!("the schema can't be written: {error}")))
}
