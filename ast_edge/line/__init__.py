"""A station beside a conveyor: trigger, part, verdict, output. No part is ever passed unjudged."""
