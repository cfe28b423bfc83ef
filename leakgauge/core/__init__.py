"""What everything else is made of: the nouns and verbs, the door to the adversary, and the mathematics that families share."""
