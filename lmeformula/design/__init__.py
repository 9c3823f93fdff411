"""Second stage: an IR and a data frame become arrays."""

from lmeformula.design.checks import check_design as check_design
from lmeformula.design.design import Design as Design
from lmeformula.design.design import NewRows as NewRows
from lmeformula.design.design import ResponseBlock as ResponseBlock
from lmeformula.design.design import TermBlock as TermBlock
from lmeformula.design.rebuild import rebuild
from lmeformula.design.stage import design as design

Design.rebuild = rebuild
