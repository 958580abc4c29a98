"""A station beside a conveyor: trigger, part, verdict, output. An unjudged part never passes."""
